"""A disk that promises no more than POSIX: what was not synced may be lost, cut, zeroed or reordered.

- A file's bytes are safe once that file was synced. Unsynced ones may be missing, cut, zero, or what lay on
  those blocks before, whatever the file's length says.
- A name is safe once its folder was synced. Of the changes of names since then any set may be there, later
  ones without earlier ones, except that changes of one and the same name keep their order, and that both
  halves of a rename come together as long as neither folder was synced.
- A synced file below a name that is lost is lost.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from power_loss.recording import Event, Made, Mark, Named, Synced, Write

BLOCK = 512
WAYS = ("lost", "whole", "cut", "zeroed", "foreign")
"""What may have come of a file's unsynced bytes."""


@dataclass(eq=False)
class Node:
    """A file or a folder, whatever it is called."""

    folder: bool
    safe: bytes = b""
    """Of a file: its bytes as they were synced last."""
    data: bytearray = field(default_factory=bytearray)
    """Of a file: its bytes as programs see them."""
    safe_names: dict[str, "Node"] = field(default_factory=dict)
    names: dict[str, "Node"] = field(default_factory=dict)
    known_as: str = ""
    """The last name that was not a temporary one: what the file is for."""


@dataclass(frozen=True, eq=False)
class Half:
    """A change of one name that is not safe yet; a rename makes two with one number."""

    number: int
    folder: Node
    name: str
    node: Node | None


class Disk:
    """The state after some of the recorded events."""

    def __init__(self, without: Collection[int] = ()) -> None:
        """An empty folder; the syncs of these places in the recording are taken out."""
        self.root = Node(folder=True)
        self.pending: list[Half] = []
        self.without = frozenset(without)
        self.synced: dict[int, Node] = {}
        """By place in the recording."""
        self.marks: list[str] = []
        self._number = 0

    def apply(self, place: int, event: Event) -> None:
        """Go on by one event."""
        match event:
            case Mark(text):
                self.marks.append(text)
            case Made():
                self._make(event)
            case Write(path, offset, data):
                node = self.find(path)
                node.data[len(node.data) : offset] = bytes(max(0, offset - len(node.data)))
                node.data[offset : offset + len(data)] = data
            case Named(how, old, new):
                self._name(how, old, new)
            case Synced(path):
                self._sync(place, path)

    def find(self, path: str) -> Node:
        """What has a name now."""
        node = self.root
        for part in filter(None, path.split("/")):
            node = node.names[part]
        return node

    def _set(self, path: str, node: Node | None) -> None:
        """Change a name."""
        above, _, name = path.rpartition("/")
        folder = self.find(above)
        if node is None:
            folder.names.pop(name)
        else:
            folder.names[name] = node
            node.known_as = node.known_as if "~" in name or "/tmp/" in path else path
        self.pending.append(Half(self._number, folder, name, node))

    def _make(self, event: Made) -> None:
        self._number += 1
        above, _, name = event.path.rpartition("/")
        there = self.find(above).names.get(name)
        if there is None:
            self._set(event.path, Node(event.folder))
        elif event.emptied:
            there.data.clear()

    def _name(self, how: str, old: str, new: str) -> None:
        self._number += 1
        node = self.find(old)
        if how == "delete":
            self._set(old, None)
        elif how == "link":
            self._set(new, node)
        elif how == "exchange":
            other = self.find(new)
            self._set(new, node)
            self._set(old, other)
        else:
            self._set(old, None)
            self._set(new, node)

    def _sync(self, place: int, path: str) -> None:
        node = self.find(path)
        self.synced[place] = node
        if place in self.without:
            return
        if not node.folder:
            node.safe = bytes(node.data)
            return
        for half in self.pending:
            if half.folder is node:
                _apply(node.safe_names, half)
        self.pending = [half for half in self.pending if half.folder is not node]

    def after_failure(self, target: Path, luck: "Luck") -> None:
        """Write what the disk may hold when the power goes now, to a new folder."""
        kept: set[int] = set()
        for half in reversed(self.pending):
            if half.number in kept or luck.keeps(half):
                # What came before on the same name comes along.
                place = (half.folder, half.name)
                kept |= {
                    h.number for h in self.pending if (h.folder, h.name) == place and h.number <= half.number
                }
        there: dict[Node, dict[str, Node]] = {}
        for half in self.pending:
            if half.number in kept:
                _apply(there.setdefault(half.folder, dict(half.folder.safe_names)), half)
        _write(self.root, target, there, luck)


@dataclass(frozen=True)
class Luck:
    """What a power failure does to what is not safe."""

    rng: random.Random
    names: float
    """The chance that a change of a name is there."""
    ways: tuple[str, ...] = WAYS
    """What may come of bytes; each file draws one."""
    against: Collection[Node] = ()
    """Folders whose unsafe names are all lost."""

    def keeps(self, half: Half) -> bool:
        """Whether a change of a name is there."""
        return half.folder not in self.against and self.rng.random() < self.names


def _write(node: Node, target: Path, there: dict[Node, dict[str, Node]], luck: Luck) -> None:
    """Write a file or folder as it is after the failure."""
    if not node.folder:
        target.write_bytes(_bytes_after(node, luck.rng, luck.rng.choice(luck.ways)))
        return
    target.mkdir()
    for name, below in sorted(there.get(node, node.safe_names).items()):
        _write(below, target / name, there, luck)


def _apply(names: dict[str, Node], half: Half) -> None:
    """Change a name in a folder."""
    if half.node is None:
        names.pop(half.name, None)
    else:
        names[half.name] = half.node


def _bytes_after(node: Node, rng: random.Random, way: str) -> bytes:
    """What a file may hold after a failure."""
    data = bytes(node.data)
    if data == node.safe or way == "lost":
        return node.safe
    if way == "whole":
        return data
    if way == "cut":
        return data[: rng.randrange(len(data))] if data else data
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    other = bytes if way == "zeroed" else rng.randbytes
    return b"".join(other(len(block)) if rng.random() < 0.5 else block for block in blocks)


def replay(events: list[Event], stop: int, without: Collection[int] = ()) -> Disk:
    """The disk after the first events."""
    disk = Disk(without)
    for place, event in enumerate(events[:stop]):
        disk.apply(place, event)
    return disk
