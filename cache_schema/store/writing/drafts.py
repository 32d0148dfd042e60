"""From a volume that was embedded to what is stored of it: its arrays as they are kept, and its record."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.files.chunks.chunk import to_storage
from cache_schema.format.digests.digest import volume_digest
from cache_schema.format.digests.proof import prove_array
from cache_schema.format.digests.token_statistics import token_statistics
from cache_schema.format.header import Header
from cache_schema.format.layout import chunk_slices
from cache_schema.format.record import VolumeDraft, VolumeRecord


def stored_arrays(
    header: Header, draft: VolumeDraft, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """A volume's arrays in the storage dtype, checked against the header.

    Raises:
        StoreError: If they are not those of the header, or the volume keeps no slice.
        VolumeError: If a value is not finite or overflows the storage dtype.
    """
    names = {spec.name for spec in header.arrays}
    if arrays.keys() != names:
        raise StoreError(f"{draft.key}: the store needs {sorted(names)}, not {sorted(arrays)}")
    n = len(draft.slices.index)
    if n == 0:
        raise StoreError(f"volume {draft.key} keeps no slice, so there is nothing to commit")
    return {spec.name: to_storage(spec, arrays[spec.name], n) for spec in header.arrays}


def draft_record(
    header: Header, row: int, draft: VolumeDraft, stored: Mapping[str, NDArray[Any]]
) -> VolumeRecord:
    """The record of a volume in a row of the table, not yet signed."""
    return VolumeRecord(
        **draft.model_dump(),
        row=row,
        tokens={spec.name: token_statistics(spec, stored[spec.name]) for spec in header.arrays},
        arrays={
            spec.name: prove_array(draft.key, spec, stored[spec.name], chunk_slices(header, spec))
            for spec in header.arrays
        },
        digest=volume_digest(draft.key, stored),
    )
