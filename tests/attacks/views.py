"""Stores that are called views of another: angles that are none, and stores that are something else."""

import shutil
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from attacks.foreign_bundles import bundle, member
from attacks.scene import Attack, Scene
from attacks.scene_hostile import edit

BANK = 0
"""Its place among the archived detectors."""
QUARTER = {"step": "view", "rotate_deg": 90.0, "about": "centre", "flip": None}


def seen(**view: object) -> Callable[[Scene], Sequence[str]]:
    """A pipeline whose store has a view."""

    def arrange(scene: Scene) -> Sequence[str]:
        scene.archived("images")
        file = scene.archived("pipeline.yaml")
        data = yaml.safe_load(file.read_text())
        data["extract"]["view"], data["cache"]["store"] = view, "new.zarr"
        file.write_text(yaml.safe_dump(data))
        return [str(file)]

    return arrange


def beside(
    change: Callable[[dict[str, Any]], object], name: str = "view.zarr", **aggregate: object
) -> Callable[[Scene], Sequence[str]]:
    """A pipeline and, beside its store, a copy of it whose header somebody has edited."""

    def arrange(scene: Scene) -> Sequence[str]:
        scene.archived("images")
        store, file = scene.archived("unsealed.zarr"), scene.archived("pipeline.yaml")
        shutil.copytree(store, scene.folder / "view.zarr")
        edit(scene.folder / "view.zarr" / "header.json", lambda header: change(header["fingerprint"]))
        data = yaml.safe_load(file.read_text())
        bank = {"kind": "memory_bank", "size": 40}
        data["aggregate"]["detect"]["detectors"] = [
            bank | ({"store": name} if aggregate.get("own") else {"views": [name]})
        ]
        data["aggregate"] |= {key: value for key, value in aggregate.items() if key != "own"}
        file.write_text(yaml.safe_dump(data))
        return [str(file)]

    return arrange


def turned(**said: object) -> Callable[[dict[str, Any]], object]:
    return lambda found: found["preprocessing"].append({**QUARTER, **said})


def of_another(found: dict[str, Any]) -> None:
    turned()(found)
    found["backbone"]["weights_sha256"] = "0" * 64


def elsewhere(scene: Scene) -> Sequence[str]:
    """The place of a view leads outside."""
    arguments = beside(turned())(scene)
    shutil.rmtree(scene.folder / "view.zarr")
    (scene.folder / "view.zarr").symlink_to(scene.outside)
    return arguments


ATTACKS = [
    Attack("slices turned by 1e9 degrees", "extract", seen(rotate_deg=1e9), "rotate_deg: a number below 360"),
    Attack("slices turned by NaN", "extract", seen(rotate_deg=float("nan")), "rotate_deg"),
    Attack("slices mirrored along a diagonal", "extract", seen(flip="diagonal"), "flip"),
    Attack("a view by another backbone", "detect", beside(of_another), "is no view.*weights_sha256"),
    Attack("a view of a text of degrees", "detect", beside(turned(rotate_deg="up"), own=True),
           "turned by 'up' degrees"),
    Attack("a view of infinitely many degrees", "detect", beside(turned(rotate_deg=1e308), own=True),
           "turned by 1e.308 degrees"),
    Attack("a view that nobody has made", "detect", beside(turned(), "gone.zarr"), "there is no store at"),
    Attack("a link to elsewhere for a view", "detect", elsewhere, "view.zarr"),
    Attack("views at test time by a path", "train", beside(turned(), test_views=["../../outside"]),
           r"test_views"),
    Attack("a bank of the cohort without volumes", "predict",
           bundle(member(lambda found: found["detector"].update(bank="cohort"), BANK), "detect"),
           "differs in volume"),
]  # fmt: skip
