"""Devices that are not there, or cannot be meant: refused before anything is trained or embedded."""

from pathlib import Path

import yaml

from attacks.scene import Attack, Scene


def _pipeline(scene: Scene) -> Path:
    """The archive's, with what it names."""
    for name in ("images", "unsealed.zarr"):
        scene.archived(name)
    return scene.archived("pipeline.yaml")


def asked(*sets: str):
    """The archive's pipeline with other values."""

    def arrange(scene: Scene) -> list[str]:
        return [str(_pipeline(scene)), *(word for value in sets for word in ("--set", value))]

    return arrange


def written(text: str):
    """A run folder that says on which device its heads train, for a pipeline that leaves it open."""

    def arrange(scene: Scene) -> list[str]:
        path = _pipeline(scene)
        folder = path.parent / yaml.safe_load(path.read_text())["run"]["folder"] / "train"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "device.json").write_text(text)
        return [str(path), "--set", "aggregate.train.device=auto"]

    return arrange


ATTACKS = [
    *(
        Attack(fault, verb, asked(value), says)
        for verb, fault, value, says in (
            (
                "train",
                "a GPU that is not here",
                "aggregate.train.device=cuda",
                r"device says 'cuda', .*sees no GPU",
            ),
            ("train", "the 99th GPU", "aggregate.train.device=cuda:99", r"says 'cuda:99', .*sees no GPU"),
            (
                "train",
                "a GPU of a number too long",
                "aggregate.train.device=cuda:99999999",
                r"train\.device.*cuda:0",
            ),
            (
                "train",
                "a device without numbers",
                "aggregate.train.device=meta",
                r"train\.device.*say auto, cpu, cuda",
            ),
            ("train", "a device that is a list", "aggregate.train.device=[cpu]", r"train\.device"),
            ("extract", "no GPU at all", "extract.gpus=0", r"extract\.gpus.*at least 1"),
            ("extract", "all GPUs by name", "extract.gpus=all", r"extract\.gpus.*whole number"),
        )
    ),
    *(
        Attack(fault, "train", written(text), r"device\.json .*(remove it|sees no GPU)")
        for fault, text in (
            ("a folder that was begun on a GPU", '{"taken": "cuda"}'),
            ("a folder's device that is a path", '{"taken": "../../etc"}'),
            ("a folder's device that is nothing", "{}"),
            ("a folder's device in a deep nest", "[" * 5000),
        )
    ),
]
