"""What writers leave that died, and what those work on that live: clocks and numbers may say anything."""

import os
from pathlib import Path
from typing import BinaryIO

from leftovers import dead_token

from attacks.scene import Answer, Attack, Scene
from attacks.scene_disks import on
from cache_schema.files.disk.unfinished import new_file, owner_token

HELD: list[BinaryIO] = []
"""What a live process works on: this one."""


def dead(store: Path) -> None:
    """Leftovers of a process of this machine that was killed, whatever their times say."""
    token = dead_token()
    for name in (f"tmp/write{token}", f"table/.000001.json{token}"):
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_bytes(b"part")
    (store.parent / f".{store.name}.creating{token}" / "cls").mkdir(parents=True)
    os.utime(store / f"tmp/write{token}", (4_102_444_800, 4_102_444_800))  # 2100


def alive(store: Path) -> None:
    """A write of a live process, which looks as old as files can, under a number that is nobody's."""
    file = new_file(f"{store}/tmp/write")
    HELD.append(file)
    os.rename(file.name, f"{store}/tmp/write~{owner_token().split('~')[1]}~4194305~0123456789ab.1")
    os.utime(f"{store}/tmp", (0, 0))
    os.utime(file.fileno(), (0, 0))


def elsewhere(store: Path) -> None:
    """Leftovers whose names say nothing of a start of a machine: nobody can be asked."""
    (store / "tmp").mkdir(exist_ok=True)
    (store / "tmp" / "write~node17~4711~0a1b2c").write_bytes(b"part")


def unfinished(scene: Scene) -> list[str]:
    """What is left of all of these."""
    store = scene.folder / "unsealed.zarr"
    found = [
        *(store / "tmp").glob("*"),
        *(store / "table").glob(".*"),
        *store.parent.glob(f".{store.name}.*"),
    ]
    return sorted(path.name for path in found)


def is_swept(scene: Scene, answer: Answer) -> None:
    """Nothing unfinished is left."""
    assert unfinished(scene) == []


def is_kept(scene: Scene, answer: Answer) -> None:
    """What a live process holds is there; then it lets go."""
    names = unfinished(scene)
    HELD.pop().close()
    assert len(names) == 1


def half_renamed(store: Path) -> None:
    """A pack died between its two renames, where the system has no exchange."""
    store.rename(store.parent / f".{store.name}.replaced{owner_token()}")


ATTACKS = [
    Attack(
        "a pack died between its renames",
        "cache inspect",
        on(half_renamed, "sealed.zarr"),
        "was interrupted; rename",
    ),
    Attack(
        "a pack died between its renames",
        "cache pack",
        on(half_renamed, "sealed.zarr"),
        "packed .* volumes read back",
        0,
    ),
    Attack(
        "leftovers of a dead process, from the future",
        "extract",
        on(dead, pipeline=True),
        "9 already there",
        1,
        check=is_swept,
    ),
    Attack(
        "leftovers of a dead process, from the future",
        "cache verify",
        on(dead),
        "3 unfinished files.*all right",
        0,
    ),
    Attack(
        "a live write, from 1970, of a number that is gone",
        "extract",
        on(alive, pipeline=True),
        "9 already there",
        1,
        check=is_kept,
    ),
    Attack(
        "a live write, from 1970, of a number that is gone",
        "cache verify",
        on(alive),
        "all right",
        0,
        check=is_kept,
    ),
    Attack(
        "leftovers that nobody can be asked about",
        "cache verify",
        on(elsewhere),
        "1 unfinished files.*node17.*delete.*all right",
        0,
    ),
    Attack(
        "leftovers that nobody can be asked about",
        "cache remove",
        on(elsewhere, "extracted", "sub-02"),
        "is an unfinished write: stop what writes",
    ),
]
