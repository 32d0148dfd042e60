"""Ways to spoil a store's files as disks do, and whether it is sound again."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from attacks.scene import Answer, Scene, run

Spoil = Callable[[Path], object]
AGAIN = "--replace"


def cut(pattern: str, share: float = 0.0) -> Spoil:
    """The first file of that pattern loses its end."""
    return lambda store: os.truncate(one(store, pattern), int(one(store, pattern).stat().st_size * share))


def zeroed(pattern: str) -> Spoil:
    """The first file of that pattern keeps its length and loses its bytes."""
    return lambda store: one(store, pattern).write_bytes(bytes(one(store, pattern).stat().st_size))


def lost(pattern: str) -> Spoil:
    """The name of the first file of that pattern never reached the disk."""
    return lambda store: one(store, pattern).unlink()


def one(store: Path, pattern: str) -> Path:
    """The first file of a pattern."""
    return min(path for path in store.glob(pattern) if path.stat().st_size)


def foreign(pattern: str) -> Spoil:
    """The first file of that pattern shows what lay on its blocks before."""
    return lambda store: one(store, pattern).write_bytes(one(store, "header.json").read_bytes()[:3000])


def on(spoil: Spoil, store: str = "extracted", *arguments: str, pipeline: bool = False):
    """Spoil a fresh store, and give its name (or that of its pipeline) to the verb."""

    def arrange(scene: Scene) -> list[str]:
        place = scene.extracted() if store == "extracted" else scene.archived(store)
        spoil(place)
        return [str(scene.archived("pipeline.yaml") if pipeline else place), *arguments]

    return arrange


def is_sound(scene: Scene, answer: Answer) -> None:
    """After a repair the store verifies, and holds what an undisturbed extraction holds."""
    said = re.search(r"content digest (\w{64})", answer.out)
    assert said is not None
    assert said[1] == sound_digest(scene)
    assert run("cache verify", ["--full", str(scene.folder / "unsealed.zarr")]).code == 0


def sound_digest(scene: Scene) -> str:
    """Content digest of the store that nobody spoiled."""
    other = Scene.below(scene.folder / "other")
    found = re.search(r"content digest:? +(\w{64})", run("cache inspect", [str(other.extracted())]).out)
    assert found is not None
    return found[1]
