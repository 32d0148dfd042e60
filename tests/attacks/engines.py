"""Engines that nobody knows, that run elsewhere, or that a store claims: refused, nothing computed."""

from typing import Any

from attacks.scene import Attack, Scene
from attacks.scene_foreign import Spoil, header, pipeline, store


def engine(value: Any) -> Spoil:
    """A header that says which one, with its hash made right."""
    return header(lambda found: found["numerics"].update(engine=value))


def asked(*sets: str):
    """The archive's pipeline over its store."""

    def arrange(scene: Scene) -> list[str]:
        given = pipeline(lambda scene, path: None)(scene)
        return [*given, *(word for value in sets for word in ("--set", value))]

    return arrange


ATTACKS = [
    Attack("an engine of a newer version", "cache inspect", store(engine("tensorrt")), r"numerics\.engine"),
    Attack("an engine that is a list", "cache inspect", store(engine(["torch"])), r"numerics\.engine"),
    Attack("an engine that is a module", "extract", pipeline(engine("os:system")), r"numerics\.engine"),
    Attack(
        "an open engine over committed volumes",
        "cache inspect",
        store(engine("auto")),
        r"numerics\.json .*(is missing|belongs to another header)",
    ),
    Attack(
        "an engine by which it was not made",
        "extract",
        asked("extract.engine=openvino"),
        r"engine is 'openvino' here and 'torch' there|not installed",
    ),
    Attack(
        "an engine that is misspelt",
        "extract",
        asked("extract.engine=openvin"),
        r"extract\.engine",
    ),
    Attack(
        "an engine for CPUs on a GPU",
        "extract",
        asked("extract.engine=openvino", "extract.device=cuda"),
        r"runs on the CPU, and device is 'cuda'",
    ),
]
