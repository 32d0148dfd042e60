"""Weights and locks that somebody else put there, and machines that `doctor` looks at."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from attacks.scene import Answer, Attack, Scene
from extract.backbones.checkpoint.lock import NAME, BackboneLock, LockedFile, file_sha256
from extract.backbones.dinov2 import write_example

SPEC = "extract.backbone={{kind: dinov2, path: weights, lock: weights/{}}}"
Spoil = Callable[[Path], object]


def locked(spoil: Spoil) -> Callable[[Scene], list[str]]:
    """The archive's pipeline with a backbone from a folder and its lock, one of which is spoilt."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        folder = write_example(scene.folder / "weights", gated=False, registers=False)
        files = tuple(
            LockedFile(name=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))
            for path in sorted(folder.iterdir())
        )
        lock = BackboneLock(
            kind="dinov2", repository="lab/x", revision="0" * 40, weights_sha256="1" * 64, files=files
        )
        (folder / NAME).write_text(lock.model_dump_json())
        spoil(folder)
        store = scene.folder / "new.zarr"
        return [
            str(scene.archived("pipeline.yaml")),
            "--set",
            SPEC.format(NAME),
            "--set",
            f"cache.store={store}",
        ]

    return arrange


def edited(change: Callable[[dict], object]) -> Spoil:
    """A lock whose JSON was changed."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / NAME).read_text())
        change(content)
        (folder / NAME).write_text(json.dumps(content))

    return spoil


def replaced(data: bytes) -> Spoil:
    return lambda folder: (folder / NAME).write_bytes(data)


def fifo(folder: Path) -> None:
    (folder / NAME).unlink()
    os.mkfifo(folder / NAME)


def huge(folder: Path) -> None:
    os.truncate(folder / NAME, 1 << 40)


def one_bit(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))


def outside(content: dict) -> None:
    content["files"][0]["name"] = "../../outside/secret.txt"


def index_outside(folder: Path) -> None:
    names = {"weight_map": {"a": "../../outside/secret.txt"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(names))


def told(*given: str) -> Callable[[Scene], list[str]]:
    """The archive's pipeline and images, and overrides."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        sets = [word.format(scene=scene.folder) for value in given for word in ("--set", value)]
        return [str(scene.archived("pipeline.yaml")), *sets]

    return arrange


def store_of_others(scene: Scene) -> list[str]:
    (scene.folder / "mine").mkdir()
    (scene.folder / "mine" / "letter.txt").write_text("dear")
    return told("cache.store={scene}/mine")(scene)


def folder_with_a_lock(scene: Scene) -> list[str]:
    locked(edited(outside))(scene)
    return ["dinov2/lab/x", "--to", str(scene.folder / "weights")]


def nothing_made(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "new.zarr").exists()
    assert not list(scene.folder.glob(".probe*"))


def nothing_acts(scene: Scene, answer: Answer) -> None:
    assert "\u202e" not in answer.text


ATTACKS = [
    Attack(
        "one bit of locked weights",
        "extract",
        locked(one_bit),
        r"sha256 \w{64}, not \w{64}",
        check=nothing_made,
    ),
    Attack(
        "a lock that names a file outside",
        "extract",
        locked(edited(outside)),
        "files.0.name",
        check=nothing_made,
    ),
    Attack("a lock of a tebibyte", "extract", locked(huge), "bytes, .* at most are read", check=nothing_made),
    Attack("a lock that is a pipe", "extract", locked(fifo), "lock .* is no file", check=nothing_made),
    Attack("a lock nested deep", "extract", locked(replaced(b"[" * 10**5)), "lock .* cannot be used"),
    Attack("a lock with a key twice", "extract", locked(replaced(b'{"kind": 1, "kind": 2}')), "'kind' twice"),
    Attack(
        "a lock of a newer program",
        "extract",
        locked(edited(lambda c: c.update(signed=1))),
        "'signed', which",
    ),
    Attack("a lock that names a file outside", "backbone fetch", folder_with_a_lock, "files.0.name"),
    Attack(
        "one bit of locked weights", "doctor", locked(one_bit), "problem +weights .*not what was fetched", 1
    ),
    Attack("a lock that is a pipe", "doctor", locked(fifo), "problem +weights .*is no file", 1),
    Attack(
        "an index that names a file outside", "doctor", locked(index_outside), "no file of this folder", 1
    ),
    Attack(
        "something else where the store is to be",
        "doctor",
        store_of_others,
        "problem +store .*other things",
        1,
    ),
    Attack(
        "a run folder below a file",
        "doctor",
        told("run.folder={scene}/pipeline.yaml/run"),
        "problem +run folder",
        1,
    ),
    Attack(
        "a folder of images whose name steers a terminal",
        "doctor",
        told('extract.input.bids="\\u202Ered"'),
        r"problem +input .*u202ered",
        1,
        check=nothing_acts,
    ),
]
