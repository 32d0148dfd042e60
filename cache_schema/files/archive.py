"""A store in a zip: members as objects, read from the archive's own file and never unpacked to disk.

A zip says three things that may be lies: names, sizes, and where the bytes lie. All are checked when it is
opened, before one member is read; after that nothing can be larger than its directory said.
"""

import io
import os
import stat
import struct
import weakref
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import MEBIBYTE
from cache_schema.files.opened import Opened, OpenedBytes, OpenedFile, require_size
from cache_schema.files.read_only import ReadOnly
from cache_schema.format.limits import unsafe_name

MAX_GROWTH = 100
SMALL = 64 * MEBIBYTE
"""A zip may unpack to so many times its size, or to this: tokens and JSON deflate to a tenth at best."""
DEFLATE_LIMIT = 1032
"""No deflated stream grows by more."""
ENCRYPTED = 0x1
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, and the lengths of the name and the extra field that stand before a member's bytes."""


class ZipMembers:
    """What an opened zip holds, by name; members may be stored or deflated."""

    def __init__(self, opened: Opened, what: str) -> None:
        """Hold the archive's directory against what a store can be.

        Args:
            opened: The zip; it stays open.
            what: Names it in messages.

        Raises:
            StoreError: If it is no zip, a truncated one, or one that was made to hurt.
        """
        self._opened, self._what = opened, what
        try:
            with zipfile.ZipFile(io.BufferedReader(_Seekable(opened))) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
            raise StoreError(f"{what} is no zip archive, or a truncated one ({error})") from error
        wrong = next(iter(faults(members, opened.size)), None)
        if wrong is not None:
            raise StoreError(f"the zip {what} {wrong}; it is not read")
        self._members = {one.filename: one for one in members if not one.is_dir()}

    @property
    def names(self) -> Iterable[str]:
        """Of all members but folders."""
        return self._members.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """A whole member, of the size and checksum that the directory says."""
        data = self._read(self._members[name])
        if zlib.crc32(data) != self._members[name].CRC:
            raise StoreError(f"{name} in {self._what} is damaged: its checksum differs")
        return data

    def open(self, name: str) -> Opened:
        """A stored member where it lies, a deflated one in memory; checksums are left to who reads it."""
        member = self._members[name]
        if member.compress_type == zipfile.ZIP_STORED:
            return OpenedMember(self._opened, self._start(member), member.file_size)
        return OpenedBytes(self._read(member))

    def _start(self, member: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin."""
        head = _bytes_at(self._opened, member.header_offset, LOCAL_HEADER.size)
        if len(head) < LOCAL_HEADER.size:
            self._refuse(member)
        signature, name, extra = LOCAL_HEADER.unpack(head)
        start = member.header_offset + LOCAL_HEADER.size + int(name) + int(extra)
        if signature != b"PK\x03\x04" or start + member.compress_size > self._opened.size:
            self._refuse(member)
        return start

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        """A whole member, of the size that the directory says."""
        require_size(member.filename, member.file_size)
        data = _bytes_at(self._opened, self._start(member), member.compress_size)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflate.decompress(data, member.file_size + 1)
            except zlib.error:
                self._refuse(member)
        if len(data) != member.file_size:
            self._refuse(member)
        return data

    def _refuse(self, member: zipfile.ZipInfo) -> NoReturn:
        raise StoreError(
            f"{member.filename:.200} in {self._what} is damaged: its bytes are not what the archive's "
            "directory says"
        )


def _bytes_at(opened: Opened, offset: int, n: int) -> bytes:
    """So many bytes from an offset on, fewer at the end."""
    found = bytearray(n)
    return bytes(found[: opened.read_into(offset, [found])])


class _Seekable(io.RawIOBase):
    """An opened object as a file, for Python's reader of zip directories."""

    def __init__(self, opened: Opened) -> None:
        """At its beginning."""
        self._opened, self._place = opened, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._opened.size}[whence]
        if start + offset < 0:
            raise OSError("a place before the beginning")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read from there."""
        got = self._opened.read_into(self._place, [buffer])
        self._place += got
        return got


class ZipObjects(ReadOnly):
    """The objects of a zip, for reading."""

    def __init__(self, path: Path) -> None:
        """Open the archive.

        Raises:
            StoreError: If it is no zip, a truncated one, or one that was made to hurt.
        """
        self.path, self.where = path, str(path)
        opened = OpenedFile(os.path.realpath(path))
        weakref.finalize(self, opened.__exit__)
        self._members = ZipMembers(opened, repr(str(path)))

    def get(self, name: str) -> bytes | None:
        """Read a member and hold it to its checksum, or None."""
        return self._members.read(name) if name in self._members else None

    def opened(self, name: str, *, parts: bool) -> Opened | None:
        """Open a member, or None; chunks carry checksums of their own."""
        return self._members.open(name) if name in self._members else None

    def list(self, prefix: str) -> list[str]:
        """Names below a folder; hidden ones are unfinished writes that were copied along."""
        start = f"{prefix}/"
        return sorted(
            name
            for name in self._members.names
            if name.startswith(start) and not name.rpartition("/")[2].startswith(".")
        )


class OpenedMember:
    """A stored member: a part of the archive's file."""

    def __init__(self, archive: Opened, start: int, size: int) -> None:
        """Hold where it lies."""
        self._archive, self._start, self.size = archive, start, size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        return None

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Read without a copy, in one call; what stands behind the member is not counted."""
        got = self._archive.read_into(self._start + offset, buffers)
        return min(got, max(0, self.size - offset))


def faults(members: Sequence[zipfile.ZipInfo], size: int) -> Iterable[str]:
    """What a zip of `size` bytes says that no zip of a store would say; each continues `the zip X ...`."""
    names: set[str] = set()
    for member in members:
        name = member.orig_filename
        shown = f"{name:.200}".encode("ascii", "backslashreplace").decode()
        if unsafe_name(name) or not name.isascii():
            yield f"has a member {shown!r}, whose name could lie outside a store"
        elif name in names:
            yield f"has two members {shown!r}"
        elif member.flag_bits & ENCRYPTED:
            yield f"has an encrypted member {shown!r}"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            yield f"has a member {shown!r} that is a link or device"
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            yield f"has a member {shown!r} that is neither stored nor deflated"
        elif not _sizes_agree(member, size):
            yield f"says of {shown!r} that {member.compress_size} bytes are {member.file_size} unpacked"
        names.add(name)
    if sum(member.compress_size for member in members) > size:
        yield "has members that overlap"
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(SMALL, MAX_GROWTH * size):
        yield f"of {size} bytes says that it unpacks to {unpacked}, over {MAX_GROWTH} times as much"


def _sizes_agree(member: zipfile.ZipInfo, size: int) -> bool:
    """Whether a member's two sizes can both be true in an archive of `size` bytes."""
    if member.header_offset < 0 or member.header_offset + member.compress_size > size:
        return False
    if member.compress_type == zipfile.ZIP_STORED:
        return member.file_size == member.compress_size
    return member.file_size <= DEFLATE_LIMIT * member.compress_size
