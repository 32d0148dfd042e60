"""The disk fills up at every change that a verb makes, in turn: one line, and nothing half-written."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from attacks.machine import fresh, of_store, study, to_replace, trained
from attacks.scene import ARCHIVE, Scene, run
from attacks.scene_machine import Disk
from cache_schema.common.terminal.command import OURS

Arranged = Callable[[Scene], list[str]]

VERBS: dict[str, tuple[str, Arranged, int]] = {
    "extract to a new store": ("extract", fresh, 1),
    "extract one volume": ("extract", to_replace, 1),
    "train": ("train", study("train"), 0),
    "ablate": ("ablate", study("ablate"), 0),
    "detect": ("detect", study("detect"), 0),
    "detect with maps": (
        "detect",
        lambda scene: [*study("detect")(scene), "--set", "aggregate.detect.maps=all"],
        0,
    ),
    "predict": ("predict", trained("--out", "{scene}/p.csv"), 0),
    "seal": ("cache seal", lambda scene: [str(scene.extracted())], 0),
    "pack": ("cache pack", of_store("sealed.zarr"), 0),
    "unpack": ("cache unpack", of_store("packed.zarr"), 0),
    "remove": ("cache remove", of_store("sealed.zarr", "sub-01"), 0),
    "remove from a packed store": ("cache remove", of_store("packed.zarr", "sub-01"), 0),
    "import": ("cache import", of_store("store.h5", "{scene}/copy.zarr"), 0),
    "merge": (
        "cache merge",
        of_store("sealed.zarr", str(ARCHIVE / "store.h5"), "--out", "{scene}/copy.zarr"),
        0,
    ),
    "subset": (
        "cache subset",
        of_store("packed.zarr", "{scene}/copy.zarr", "--participants", "sub-01", "--arrays", "cls,patches"),
        0,
    ),
    "export": ("cache export", of_store("sealed.zarr", "{scene}/copy.h5"), 0),
    "export with pseudonyms": (
        "cache export",
        of_store("sealed.zarr", "{scene}/copy.h5", "--pseudonymise"),
        0,
    ),
    "export of volumes": ("cache export", of_store("sealed.zarr", "{scene}/vols", "--format", "volumes"), 0),
}
FEW, MORE = 3, 8
"""Places of a sweep that every commit tries, and the slow tests. All of them take half an hour."""


def changes_of(name: str, folder: Path) -> list[str]:
    """What a verb changes when nothing fails."""
    verb, arrange, code = VERBS[name]
    scene = Scene.below(folder)
    disk = Disk(scene.folder, None)
    arguments = arrange(scene)
    with disk.failing():
        answer = run(verb, arguments)
    assert answer.code == code, answer.text
    return disk.calls


def try_at(name: str, place: int, folder: Path, once: bool) -> None:
    """Let one change fail, and look at what is left; then finish without a fault."""
    verb, arrange, code = VERBS[name]
    scene = Scene.below(folder)
    arguments = arrange(scene)
    with Disk(scene.folder, place, once=once).failing():
        answer = run(verb, arguments)
    told = [line for line in answer.err.splitlines() if line.startswith("slicecache: ")]
    assert (answer.code, len(told)) == (3, 1), answer.text
    assert "Traceback" not in answer.text
    assert OURS not in answer.text
    assert str(scene.folder) in told[0], told
    assert "the disk is full" in told[0], told
    nothing_half_written(scene.folder)
    again = run(verb, arguments)
    gone = (
        verb == "cache remove" and "has no volume of participant" in again.text
    )  # only the seal was missing
    assert again.code == code or gone, (answer.text, again.text)


def nothing_half_written(folder: Path) -> None:
    """What stands under its own name is whole: not empty, and JSON where it says so; stores verify."""
    for path in folder.rglob("*"):
        hidden = (
            any(part.startswith(".") for part in path.relative_to(folder).parts) or path.parent.name == "tmp"
        )
        if hidden or not path.is_file() or path.name == "log.txt":
            continue
        assert path.stat().st_size > 0, path
        if path.suffix == ".json":
            json.loads(path.read_bytes())
    for header in folder.glob("*/header.json"):
        if not header.parent.name.startswith("."):
            checked = run("cache verify", [str(header.parent)])
            # A removal that was cut short is said to be one, with what finishes it.
            begun = "the participant was withdrawn, and this is still there" in checked.text
            assert checked.code == int(begun), checked.text


def places_of(name: str, folder: Path, most: int) -> list[int]:
    """The first change of a verb, the last, and some between."""
    calls = len(changes_of(name, folder))
    between = random.Random(name).sample(range(calls), min(most - 2, calls))
    return sorted({0, calls - 1, *between})


@pytest.mark.parametrize("name", [verb for verb in VERBS if verb != "detect"])  # with maps it does the same
def test_a_disk_that_fills_up_anywhere(name: str, tmp_path: Path) -> None:
    for place in places_of(name, tmp_path / "whole", FEW):
        try_at(name, place, tmp_path / str(place), once=False)


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True], ids=["from then on", "once"])
@pytest.mark.parametrize("name", VERBS)
def test_a_disk_that_fills_up_everywhere(name: str, once: bool, tmp_path: Path) -> None:
    for place in places_of(name, tmp_path / "whole", MORE):
        try_at(name, place, tmp_path / str(place), once)
