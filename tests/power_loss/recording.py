"""System calls of a process, recorded below Python and Rust by strace, as changes of one folder's files.

Every call that can change a file or make one safe is either understood or refused: a write through a
mapping, a copy inside the kernel or an io_uring ends the parsing, since it would be missing here.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CHANGES = (
    *("open", "openat", "openat2", "creat", "write", "pwrite64", "writev", "pwritev", "pwritev2", "lseek"),
    *("ftruncate", "truncate", "fallocate", "rename", "renameat", "renameat2", "link", "linkat", "symlink"),
    *("symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "fsync", "fdatasync", "sync", "syncfs"),
    *("sync_file_range", "msync", "mmap", "copy_file_range", "sendfile", "splice", "io_uring_setup"),
)
LINE = re.compile(
    r"(?P<pid>\d+) +(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\w+)(?P<rest>.*)", re.DOTALL
)
RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
HANDLE = re.compile(r"(?P<number>AT_FDCWD|-?\d+)(?:<(?P<path>[^>]*)>(?P<deleted>\(deleted\))?)?")


class NotUnderstood(Exception):
    """A call that would have to be modelled."""


@dataclass(frozen=True)
class Write:
    """Bytes put into a file."""

    path: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Made:
    """A new file or folder, unless there is one; a file that is there may be emptied."""

    path: str
    folder: bool
    emptied: bool = False


@dataclass(frozen=True)
class Named:
    """A rename, a link, an exchange or a deletion."""

    how: str
    old: str
    new: str = ""


@dataclass(frozen=True)
class Synced:
    """The bytes of a file, or the names in a folder, are on the disk."""

    path: str


@dataclass(frozen=True)
class Mark:
    """A line in the file of marks."""

    text: str


Event = Write | Made | Named | Synced | Mark


def why_not() -> str | None:
    """Why nothing can be recorded here; None when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (the system's package `strace`)"
    done = subprocess.run(["strace", "-f", "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()[-200:]}"


def record(command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
    """Run a command under strace."""
    calls = ",".join(f"?{name}" for name in CHANGES)
    strace = ["strace", "-f", "-y", "-xx", "-s", str(2**26), "-e", f"trace={calls}", "-e", "signal=none"]
    done = subprocess.run(
        [*strace, "-o", str(log), *command], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


def read(log: Path, root: Path, marks: Path) -> list[Event]:
    """The changes below `root`, paths relative to it, in the order in which the calls returned."""
    reader = _Reader(os.path.realpath(root), os.path.realpath(marks))
    return [event for line in _calls(log) for event in reader.events(line)]


def _calls(log: Path) -> Iterator[str]:
    """Whole lines, in which what another thread interrupted is joined again."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            text = line.rstrip("\n")
            if text.endswith("<unfinished ...>"):
                begun[text.split(" ", 1)[0]] = text.removesuffix("<unfinished ...>")
            elif match := RESUMED.fullmatch(text):
                yield begun.pop(match[1]) + match[3]
            else:
                yield text


def _text(escaped: str) -> bytes:
    """The bytes of a string that strace wrote in hexadecimal."""
    return bytes.fromhex(escaped.replace("\\x", ""))


class _Reader:
    """Turns calls into events; knows how far each opened file was written."""

    def __init__(self, root: str, marks: str) -> None:
        self.root, self.marks = root, marks
        self.offsets: dict[str, int] = {}

    def events(self, line: str) -> Iterator[Event]:
        """What one call changed."""
        match = LINE.fullmatch(line)
        if match is None or match["result"].startswith("-") or match["result"] == "?":
            return
        call, arguments = match["call"], match["arguments"]
        if call == "io_uring_setup":
            raise NotUnderstood(line[:200])
        if call in ("open", "openat", "openat2", "creat"):
            yield from self._opened(call, arguments, match["result"])
        elif call in ("write", "pwrite64", "writev", "pwritev", "pwritev2", "lseek"):
            yield from self._written(call, arguments, int(match["result"]))
        elif call in ("fsync", "fdatasync"):
            yield from (Synced(path) for path in self._handles(arguments)[:1])
        elif call in ("sync", "syncfs"):
            raise NotUnderstood(line[:200])
        elif call in (
            "ftruncate",
            "truncate",
            "fallocate",
            "copy_file_range",
            "sendfile",
            "splice",
            "msync",
            "symlink",
        ):
            if self._handles(arguments) or self._paths(arguments):
                raise NotUnderstood(line[:200])
        elif call == "mmap":
            if "MAP_SHARED" in arguments and "PROT_WRITE" in arguments and self._handles(arguments):
                raise NotUnderstood(line[:200])
        elif call != "sync_file_range":  # it promises nothing
            yield from self._named(call, arguments)

    def _inside(self, path: str) -> str | None:
        """A path relative to the root; None outside."""
        if path == self.root or path.startswith(f"{self.root}/"):
            return path[len(self.root) + 1 :]
        return None

    def _handles(self, arguments: str) -> list[str]:
        """Relative paths of the opened files among the arguments."""
        found = (HANDLE.fullmatch(part.strip()) for part in STRING.sub("", arguments).split(", "))
        paths = [
            _text(match["path"]).decode()
            for match in found
            if match and match["path"] and not match["deleted"]
        ]
        return [inside for path in paths if (inside := self._inside(path)) is not None]

    def _paths(self, arguments: str) -> list[str]:
        """Relative paths given as text, those outside left out; relative ones are joined to their folder."""
        found, folder = [], os.getcwd()
        for part in arguments.split(", "):
            if handle := HANDLE.fullmatch(part.strip()):
                folder = _text(handle["path"]).decode() if handle["path"] else folder
            elif string := STRING.fullmatch(part.strip()):
                path = os.path.normpath(os.path.join(folder, os.fsdecode(_text(string[1]))))
                found.append(path)
        return [inside for path in found if (inside := self._inside(path)) is not None]

    def _opened(self, call: str, arguments: str, result: str) -> Iterator[Event]:
        number = result
        for path in self._paths(arguments):
            self.offsets[number] = 0
            if "O_CREAT" in arguments or "O_TRUNC" in arguments or call == "creat":
                yield Made(path, folder=False, emptied="O_TRUNC" in arguments or call == "creat")
            if "O_APPEND" in arguments:
                raise NotUnderstood(f"{call}({arguments[-200:]}")

    def _written(self, call: str, arguments: str, result: int) -> Iterator[Event]:
        handle = HANDLE.match(arguments)
        if handle is None or not handle["path"]:
            return
        path = _text(handle["path"]).decode()
        if path == self.marks and call == "write":
            yield Mark(self._data(arguments).decode().strip())
        inside = self._inside(path)
        if inside is None:
            return
        number = handle["number"]
        if call == "lseek":
            self.offsets[number] = result
            return
        data, offset = self._data(arguments)[:result], self.offsets.get(number, 0)
        if call.startswith("p"):
            offset = int(arguments.rsplit(", ", 2 if call == "pwritev2" else 1)[1])
        else:
            self.offsets[number] = offset + result
        if not handle["deleted"]:
            yield Write(inside, offset, data)

    @staticmethod
    def _data(arguments: str) -> bytes:
        """All strings of a call, one after another."""
        found = STRING.findall(arguments)
        if any(cut for _, cut in found):
            raise NotUnderstood("a write was recorded in part")
        return b"".join(_text(text) for text, _ in found)

    def _named(self, call: str, arguments: str) -> Iterator[Event]:
        paths = self._paths(arguments)
        if not paths:
            return
        if call in ("mkdir", "mkdirat"):
            yield Made(paths[0], folder=True)
        elif call in ("unlink", "unlinkat", "rmdir"):
            yield Named("delete", paths[0])
        elif len(paths) != 2:
            raise NotUnderstood(f"{call} from or to outside")
        elif call.startswith("link"):
            yield Named("link", *paths)
        else:
            yield Named("exchange" if "RENAME_EXCHANGE" in arguments else "rename", *paths)
