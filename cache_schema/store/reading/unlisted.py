"""A sealed store on a web server, which gives objects by name and lists none.

The names follow from what the store says of itself: the seal has the committed volumes, the table's
segments are numbered, and a failure is looked for under the name of each volume that is not committed.
What else lies there cannot be known.
"""

from itertools import takewhile

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import RemoteObjects, get_all
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import (
    FAILURES,
    PREVIEWS,
    RECORDS,
    TABLE,
    WITHDRAWN,
    WORKERS,
    failure_name,
    preview_name,
    record_name,
)
from cache_schema.store.packed import is_packed
from cache_schema.store.seal import read_sealed_index
from cache_schema.store.table import read_volume_table, segment_name

NOTE = "a web server lists nothing: what lies there beside the objects of the seal was not looked for"

MAX_SEGMENTS = 1000
"""More than these are not asked for: a server may answer to any name."""


class UnlistedObjects(RemoteObjects):
    """The objects of a sealed store; a list is what the store says that there is."""

    def __init__(self, objects: RemoteObjects) -> None:
        """Hold the objects, and the volumes of the seal.

        Raises:
            StoreError: If the store is not sealed, or its seal is damaged.
        """
        super().__init__(objects.url)
        self._top = objects._top
        index = read_sealed_index(objects)
        if index is None:
            raise StoreError(
                f"{objects.url!r} is not sealed, and a web server does not say which volumes it holds: seal "
                "the store and copy it again, or read it where it can be listed"
            )
        self._keys = [
            VolumeKey(*key)
            for key in zip(index.participant_id, index.session_id, index.volume_id, strict=True)
        ]
        self._packed = is_packed(objects)

    def list(self, prefix: str) -> list[str]:
        """Names below a folder, as far as the store says them.

        Raises:
            StoreError: For a folder whose names it does not say.
        """
        if prefix == TABLE:
            names = map(segment_name, range(MAX_SEGMENTS + 1))
            found = list(takewhile(lambda name: self.get(name) is not None, names))
            if len(found) > MAX_SEGMENTS:
                raise StoreError(
                    f"{self.url!r} answers to more than {MAX_SEGMENTS} segments of the table, and a web "
                    "server does not say where it ends: pack the store, or read it where it can be listed"
                )
            return found
        if prefix == FAILURES:
            open_ones = read_volume_table(self).index.keys() - set(self._keys)
            asked = get_all(self, map(failure_name, open_ones))
            return sorted(name for name, data in asked if data is not None)
        if prefix in (WITHDRAWN, WORKERS):
            return []  # a sealed store is what it was when it was sealed: without those who were withdrawn,
            # and nobody at work
        if prefix in (RECORDS, PREVIEWS):
            name = record_name if prefix == RECORDS else preview_name
            return [] if self._packed else sorted(map(name, self._keys))
        return super().list(prefix)


def with_names(objects: Objects) -> Objects:
    """The objects of a store whose header was read, so that they can be listed.

    Raises:
        StoreError: If the place lists nothing, and the store is not sealed.
    """
    if isinstance(objects, RemoteObjects) and not objects.lists:
        return UnlistedObjects(objects)
    return objects
