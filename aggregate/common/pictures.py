"""Previews for reports: pictures, or nothing."""

import logging

from cache_schema.common.errors import StoreError
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader


def shown_preview(store: StoreReader, key: VolumeKey) -> bytes | None:
    """A volume's preview, if the store has one and it is a PNG; a report without it is still a report."""
    try:
        return store.preview(key)
    except StoreError as error:
        logging.getLogger("slicecache").warning("the report leaves out the preview of %s: %s", key, error)
        return None
