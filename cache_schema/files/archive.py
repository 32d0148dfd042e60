"""A store in a zip: members as objects, read from the archive's own file and never unpacked to disk.

A zip says three things that may be lies: names, sizes, and where the bytes lie. All are checked when it is
opened, before one member is read; after that nothing can be larger than its directory said.
"""

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
from cache_schema.files.objects import Opened, OpenedBytes
from cache_schema.files.opened import require_size
from cache_schema.format.limits import unsafe_name

MAX_GROWTH = 100
SMALL = 64 * MEBIBYTE
"""A zip may unpack to so many times its size, or to this: tokens and JSON deflate to a tenth at best."""
DEFLATE_LIMIT = 1032
"""No deflated stream grows by more."""
ENCRYPTED = 0x1
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, and the lengths of the name and the extra field that stand before a member's bytes."""


class ZipObjects:
    """The objects of a zip, for reading; members may be stored or deflated."""

    def __init__(self, path: Path) -> None:
        """Open the archive and hold its directory against what a store can be.

        Raises:
            StoreError: If it is no zip, a truncated one, or one that was made to hurt.
        """
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise StoreError(f"{str(path)!r} is no zip archive, or a truncated one ({error})") from error
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._size = os.fstat(self._file).st_size
        wrong = next(iter(faults(members, self._size)), None)
        if wrong is not None:
            raise StoreError(f"the zip {str(path)!r} {wrong}; it is not read")
        self._members = {one.filename: one for one in members if not one.is_dir()}

    def get(self, name: str) -> bytes | None:
        """Read a member and hold it to its checksum, or None."""
        member = self._members.get(name)
        if member is None:
            return None
        data = self._read(member)
        if zlib.crc32(data) != member.CRC:
            raise StoreError(f"{name} in the zip {str(self.path)!r} is damaged: its checksum differs")
        return data

    def opened(self, name: str, *, parts: bool) -> Opened | None:
        """A stored member where it lies, a deflated one in memory; chunks carry checksums of their own."""
        member = self._members.get(name)
        if member is None:
            return None
        if member.compress_type == zipfile.ZIP_STORED:
            return OpenedMember(self._file, self._start(member), member.file_size)
        return OpenedBytes(self._read(member))

    def _start(self, member: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin."""
        head = os.pread(self._file, LOCAL_HEADER.size, member.header_offset)
        if len(head) < LOCAL_HEADER.size:
            self._refuse(member)
        signature, name, extra = LOCAL_HEADER.unpack(head)
        start = member.header_offset + LOCAL_HEADER.size + int(name) + int(extra)
        if signature != b"PK\x03\x04" or start + member.compress_size > self._size:
            self._refuse(member)
        return start

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        """A whole member, of the size that the directory says."""
        require_size(member.filename, member.file_size)
        data = os.pread(self._file, member.compress_size, self._start(member))
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
            f"{member.filename:.200} in the zip {str(self.path)!r} is damaged: its bytes are not what the "
            "archive's directory says"
        )

    def list(self, prefix: str) -> list[str]:
        """Names below a folder; hidden ones are unfinished writes that were copied along."""
        start = f"{prefix}/"
        return sorted(
            name
            for name in self._members
            if name.startswith(start) and not name.rpartition("/")[2].startswith(".")
        )

    def put(self, name: str, data: bytes) -> None:
        """Refuse."""
        raise self._read_only()

    def create(self, name: str, data: bytes) -> bool:
        """Refuse."""
        raise self._read_only()

    def delete(self, name: str) -> None:
        """Refuse."""
        raise self._read_only()

    def _read_only(self) -> StoreError:
        """Why nothing is written here."""
        return StoreError(f"{str(self.path)!r} is read only; `slicecache cache import` makes a folder of it")


class OpenedMember:
    """A stored member: a part of the archive's file."""

    def __init__(self, file: int, start: int, size: int) -> None:
        """Hold where it lies."""
        self._file, self._start, self.size = file, start, size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        return None

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Read without a copy, in one call; what stands behind the member is not counted."""
        return min(os.preadv(self._file, buffers, self._start + offset), max(0, self.size - offset))


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
            yield f"has a member {shown!r} packed by method {member.compress_type}"
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
