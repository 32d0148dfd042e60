"""Previews: one object per volume, or one zip of them all in a packed store."""

import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import PREVIEWS, preview_name
from cache_schema.store.packed import is_packed

PACKED_PREVIEWS = "packed/previews.zip"
"""Members are named `<key hash>.png`, sorted, not compressed again, without a time."""


def stored_preview(objects: Objects, key: VolumeKey) -> bytes | None:
    """A volume's preview, or None.

    Raises:
        StoreError: If the gathered previews are damaged.
    """
    data = objects.get(preview_name(key))
    if data is not None or not is_packed(objects):
        return data
    return next((png for _, png in gathered_previews(objects, {key.digest})), None)


def stored_previews(objects: Objects) -> Iterator[tuple[str, bytes]]:
    """All previews with their key hashes, sorted, one in memory at a time."""
    for name in sorted(objects.list(PREVIEWS), key=_digest):
        data = objects.get(name)
        if data is not None:
            yield _digest(name), data
    yield from gathered_previews(objects)


def gathered_previews(objects: Objects, wanted: set[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """The previews in a packed store's zip, all or those wanted by key hash.

    Raises:
        StoreError: If the zip is damaged.
    """
    try:
        archive = _open(objects)
        if archive is None:
            return
        with archive:
            for name in sorted(archive.namelist()):
                if wanted is None or _digest(name) in wanted:
                    yield _digest(name), archive.read(name)
    except zipfile.BadZipFile as error:
        raise StoreError(f"{PACKED_PREVIEWS} is damaged: {error}; it can be deleted") from error


def _open(objects: Objects) -> zipfile.ZipFile | None:
    """The zip, opened; a folder's without reading it whole."""
    if isinstance(objects, LocalObjects):
        path = objects.path(PACKED_PREVIEWS)
        return zipfile.ZipFile(path) if os.path.exists(path) else None
    data = objects.get(PACKED_PREVIEWS)
    return None if data is None else zipfile.ZipFile(io.BytesIO(data))


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
