"""Where a spoilt store is put: as the first argument, below a pipeline, under a sound bundle."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from attacks.scene import Answer, Scene
from attacks.scene_hostile import Edit, behind_link, edit, records

Spoil = Callable[[Scene, Path], object]


def store(spoil: Spoil, *more: str, name: str = "unsealed.zarr"):
    """A spoilt store as the first argument."""

    def arrange(scene: Scene) -> list[str]:
        path = scene.archived(name)
        spoil(scene, path)
        return [str(path), *more]

    return arrange


def pipeline(spoil: Spoil, name: str = "unsealed.zarr"):
    """A pipeline over a spoilt store."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        path = scene.archived(name)
        spoil(scene, path)
        return [str(scene.archived("pipeline.yaml")), "--set", f"cache.store={name}"]

    return arrange


def predicted(spoil: Spoil, name: str = "sealed.zarr"):
    """A sound bundle, applied to a spoilt store."""

    def arrange(scene: Scene) -> list[str]:
        path = scene.archived(name)
        spoil(scene, path)
        return [str(scene.archived("train")), str(path)]

    return arrange


def header(change: Edit) -> Spoil:
    return lambda _, path: edit(path / "header.json", change)


def array(change: Edit, name: str = "cls") -> Spoil:
    return lambda _, path: edit(path / name / "zarr.json", change)


def record(change: Edit, number: int = 0) -> Spoil:
    return lambda _, path: edit(records(path)[number], change)


def table(change: Edit) -> Spoil:
    return lambda _, path: edit(path / "table" / "000000.json", change)


def index(change: Edit) -> Spoil:
    return lambda _, path: edit(path / "sealed" / "index.json", change)


def bytes_of(name: str, data: bytes) -> Spoil:
    return lambda _, path: (path / name).write_bytes(data)


def link(name: str) -> Spoil:
    return lambda scene, path: behind_link(path / name, scene)


def first(sort: Callable[[Path], list[Path]], what: Callable[[Scene, Path], object]) -> Spoil:
    return lambda scene, path: what(scene, sort(path)[0])


def sparse(name: str, size: int) -> Spoil:
    """A file that says that it is large and takes no room."""

    def spoil(scene: Scene, path: Path) -> None:
        with (path / name).open("r+b") as file:
            file.truncate(size)

    return spoil


def set_(name: str, value: object) -> Edit:
    return lambda found: found.__setitem__(name, value)


def to(arrange: Callable[[Scene], list[str]], *flags: str, out: str = "out"):
    """The same, with a place to write to."""
    return lambda scene: [*arrange(scene), *flags, str(scene.folder / out)]


def nothing_made(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "out").exists()


def packed_preview(name: str, data: bytes) -> Spoil:
    def spoil(scene: Scene, path: Path) -> None:
        with zipfile.ZipFile(path / "packed" / "previews.zip", "a") as archive:
            archive.writestr(name, data)

    return spoil
