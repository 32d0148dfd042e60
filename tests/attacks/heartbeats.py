"""`status` before stores whose heartbeats, failures and names were made to mislead, and full disks."""

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attacks.remote import by_url, status
from attacks.scene import Answer, Attack, Scene
from attacks.scene_foreign import Spoil, store
from attacks.scene_hostile import DEEP, behind_link
from cache_schema.files.objects import LocalObjects
from cache_schema.format.canonical import canonical_json
from cache_schema.format.heartbeat import heartbeat_name

LINK = "symbolic link"
UNREADABLE = "nobody is at work.*1 heartbeat cannot be read"
NAME = "workers/0123456789abcdef.json"
ESCAPES = "\x1b[2J\x1b]0;mine\x07\u202eevil"


def said(**changes: Any) -> dict[str, Any]:
    """A heartbeat of somebody at work, with changes."""
    now = datetime.now(UTC)
    return {
        "host": "node01",
        "pid": 7,
        "job": "",
        "shard": "0/2",
        "processor": "a processor",
        "device": "cpu",
        "device_name": "",
        "compute_dtype": "float32",
        "started": (now - timedelta(minutes=5)).isoformat(),
        "beat": now.isoformat(),
        "state": "running",
        "volumes": 5,
        "committed": 1,
        "failed": 0,
        "slices": 100,
        "slices_per_second": 10.0,
        "busy_seconds": 10.0,
        "waiting_seconds": 0.0,
        **changes,
    }


def beat(name: str = "", *, raw: bytes | None = None, **changes: Any) -> Spoil:
    """Put a heartbeat, under the name that it has by rights unless another is given."""

    def spoil(scene: Scene, path: Path) -> None:
        found = said(**changes)
        named = name or heartbeat_name(found["host"], found["pid"], datetime.fromisoformat(found["started"]))
        (path / "workers").mkdir(exist_ok=True)
        (path / named).write_bytes(canonical_json(found) if raw is None else raw)

    return spoil


def in_place(what) -> Spoil:
    """Something else where a heartbeat should be."""

    def spoil(scene: Scene, path: Path) -> None:
        (path / "workers").mkdir(exist_ok=True)
        what(scene, path / NAME)

    return spoil


def linked_folder(scene: Scene, path: Path) -> None:
    beat()(scene, path)
    behind_link(path / "workers", scene)


def huge(scene: Scene, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def loud_failure(scene: Scene, path: Path) -> None:
    name = next((path / "failures").iterdir())
    found = json.loads(name.read_bytes())
    name.write_bytes(canonical_json({**found, "reason": ESCAPES + "x" * 500_000}))


def no_record(scene: Scene, path: Path) -> None:
    """Names that no table has."""
    for name in ("0" * 64, "../evil", "x"):
        target = path / "records" / "00" / f"{name.replace('/', '_')}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"{}")


def quiet(scene: Scene, answer: Answer) -> None:
    """Nothing that acts on a terminal, and no screen full of it."""
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text
    assert len(answer.text) < 3000


@contextlib.contextmanager
def no_heartbeats(scene: Scene) -> Iterator[None]:
    """A disk that is full for heartbeats alone: what a quota of files does at the wrong moment."""
    original = LocalObjects.put

    def put(self: LocalObjects, name: str, data: bytes) -> None:
        if name.startswith("workers/"):
            raise OSError(28, os.strerror(28), name)
        original(self, name, data)

    with patch.object(LocalObjects, "put", put):
        yield


def again(scene: Scene) -> list[str]:
    """An extraction with something to do: one record is gone."""
    path = scene.extracted()
    next((path / "records").rglob("*.json")).unlink()
    return [str(scene.folder / "pipeline.yaml"), "--set", "cache.store=unsealed.zarr"]


def complete(scene: Scene) -> list[str]:
    """A store that could be sealed, its heartbeats behind a link."""
    linked_folder(scene, scene.extracted())
    return [str(scene.folder / "unsealed.zarr")]


def linked_away(scene: Scene) -> list[str]:
    """An extraction that would beat through a link."""
    arguments = again(scene)
    linked_folder(scene, scene.folder / "unsealed.zarr")
    return arguments


def attack(fault: str, spoil: Spoil, says: str, code: int = 0, **more: Any) -> Attack:
    return Attack(fault, "status", store(spoil), says, code, **more)


ATTACKS = [
    attack("a heartbeat of 200,000 nested lists", beat(NAME, raw=DEEP), UNREADABLE),
    attack("a heartbeat that says it has a tebibyte", in_place(huge), UNREADABLE),
    attack("a pipe in place of a heartbeat", in_place(lambda s, p: os.mkfifo(p)), UNREADABLE),
    attack("a folder in place of a heartbeat", in_place(lambda s, p: p.mkdir()), "nobody is at work|left"),
    attack("a heartbeat under another's name", beat(NAME), UNREADABLE),
    attack("a heartbeat with a field of tomorrow", beat(mood="good"), UNREADABLE),
    attack("a heartbeat of infinite patience", beat(NAME, raw=b'{"waiting_seconds": Infinity}'), UNREADABLE),
    attack("a heartbeat of less than nothing", beat(committed=-1), UNREADABLE),
    attack("a heartbeat of 10^400 slices", beat(slices=10**400), UNREADABLE),
    attack("a shard that leads out", beat(shard="../../etc"), UNREADABLE),
    attack("a shard of none", beat(shard="3/0"), r"1 worker heard of.*shard 3 of 0"),
    attack("a heartbeat from the last day of all", beat(beat="9999-12-31T23:59:59-23:59"), "1 worker heard"),
    attack("a heartbeat from before its start", beat(started="9999-01-01T00:00:00+00:00"), "1 worker heard"),
    attack(
        "hosts, jobs and devices that act on a terminal",
        beat(host=ESCAPES, job=ESCAPES, processor=ESCAPES, device_name=ESCAPES, compute_dtype=ESCAPES),
        r"\\x1b\[2J",
        check=quiet,
    ),
    attack("a reason that acts on a terminal and fills it", loud_failure, r'1 x "\\x1b\[2J', check=quiet),
    attack(
        "a failure of 200,000 nested lists",
        lambda s, p: next((p / "failures").iterdir()).write_bytes(DEEP),
        "what was noted cannot be read",
    ),
    attack("records of volumes that nobody planned", no_record, "volumes committed, 1 failed"),
    attack("the heartbeats are behind a link", linked_folder, LINK, 2),
    attack("a heartbeat is a link", in_place(lambda s, p: p.symlink_to(s.outside / "secret.txt")), LINK, 2),
    attack("the table is damaged", lambda s, p: (p / "table" / "000000.json").write_bytes(DEEP), "deep", 2),
    attack("no header", lambda s, p: (p / "header.json").unlink(), "no slicecache store", 2),
    Attack("nothing is there", "status", lambda s: [str(s.folder / "absent.zarr")], "there is no store"),
    Attack(
        "a pipeline in place of a store", "status", lambda s: [str(s.archived("pipeline.yaml"))], "folder"
    ),
    Attack("--watch and --json", "status", store(lambda s, p: None, "--watch", "--json"), "leave one out"),
    Attack("a server that fails", "status", by_url(status(503)), "503|fails|cannot", 3),
    Attack(
        "an unsealed store on a web server",
        "status",
        by_url(store="unsealed.zarr"),
        "not sealed.*does not say",
    ),
    Attack(
        "a disk that is full for heartbeats alone",
        "extract",
        again,
        "does not see this worker.*No space",
        1,
        under=no_heartbeats,
    ),
    Attack("the heartbeats are behind a link", "cache seal", complete, LINK),
    Attack("the heartbeats are behind a link", "extract", linked_away, "does not see this worker.*link", 1),
]
