"""Previews: one object per volume, or one zip of them all in a packed store."""

import re
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain

from cache_schema.common.errors import StoreError
from cache_schema.common.problem import RESTORE
from cache_schema.files.archive import ZipMembers
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import PREVIEWS, preview_name
from cache_schema.format.png import NotPngError, require_png
from cache_schema.store.packed import is_packed

PACKED_PREVIEWS = "packed/previews.zip"
"""Members are named `<key hash>.png`, sorted, not compressed again, without a time."""
MEMBER = re.compile(r"[0-9a-f]{64}\.png")


def stored_preview(objects: Objects, key: VolumeKey) -> bytes | None:
    """A volume's preview, or None.

    Raises:
        StoreError: If it is no PNG, or the gathered previews are damaged.
    """
    data = objects.get(preview_name(key))
    if data is not None:
        return _picture(data, preview_name(key))
    if not is_packed(objects):
        return None
    return next((png for _, png in gathered_previews(objects, {key.digest})), None)


def _picture(data: bytes, name: str) -> bytes:
    """A preview that is a picture.

    Raises:
        StoreError: If it is none.
    """
    try:
        require_png(data)
    except NotPngError as error:
        raise StoreError(f"the preview {name} is no picture: {error}; delete it") from error
    return data


def stored_previews(objects: Objects) -> Iterator[tuple[str, bytes]]:
    """All previews with their key hashes, sorted, one in memory at a time."""
    for name in sorted(objects.list(PREVIEWS), key=_digest):
        data = objects.get(name)
        if data is not None:
            yield _digest(name), _picture(data, name)
    yield from gathered_previews(objects)


def gathered_previews(objects: Objects, wanted: set[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """The previews in a packed store's zip, all or those wanted by key hash.

    Raises:
        StoreError: If the zip is damaged, or holds anything but pictures named by key hashes.
    """
    opened = objects.opened(PACKED_PREVIEWS, parts=True)
    if opened is None:
        return
    with opened:
        archive = ZipMembers(opened, PACKED_PREVIEWS)
        for name in sorted(archive.names):
            if MEMBER.fullmatch(name) is None:
                raise StoreError(f"{PACKED_PREVIEWS} has {name:.200}, which is no preview's name; {RESTORE}")
            if wanted is None or _digest(name) in wanted:
                yield _digest(name), _picture(archive.read(name), f"{name} in {PACKED_PREVIEWS}")


def check_previews(objects: Objects) -> Iterator[tuple[str, str]]:
    """What is wrong with the previews, as `(where, what)`; each of a folder's is looked at."""
    for name in objects.list(PREVIEWS):
        data = objects.get(name)
        try:
            if data is not None:  # on a web server names are no more than asked for
                _picture(data, name)
        except StoreError as error:
            yield name, str(error)
    try:
        for _ in gathered_previews(objects):
            pass
    except StoreError as error:
        yield PACKED_PREVIEWS, str(error)


def _digest(name: str) -> str:
    """The key hash in a preview's name."""
    return name.rpartition("/")[2].partition(".")[0]


def put_gathered_previews(objects: LocalObjects, previews: Iterable[tuple[str, bytes]]) -> None:
    """Write the zip anew from previews by key hash, in one step; no zip when there are none."""
    members = iter(previews)
    first = next(members, None)
    if first is None:
        objects.delete(PACKED_PREVIEWS)
        return
    with objects.writing(PACKED_PREVIEWS) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for digest, png in chain([first], members):
            archive.writestr(zipfile.ZipInfo(f"{digest}.png"), png)
