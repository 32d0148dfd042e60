"""Whether an extraction has where to write: asked before the first volume is read."""

import os
from collections.abc import Sequence
from pathlib import Path

from cache_schema.files.disk.room import existing, require_room, require_writable
from cache_schema.files.objects import TEMPORARY
from cache_schema.files.remote.bucket import Bucket
from cache_schema.files.remote.urls import is_url
from cache_schema.format.header import ArraySpec, Header
from cache_schema.format.layout import item_bytes, slices_of_chunk
from extract.planning.plan import PlannedVolume

BESIDE_BYTES = 64_000
"""A volume's record and preview; generously, and little beside its tokens."""
BESIDE_FILES = 2
FOLDERS = 2 * 256
"""Of records and previews, by the first two digits of a key's hash."""
ADVICE = ", or `--set extract.check_space=false` to begin all the same: what is committed stays"


def require_places(run_folder: Path, locations: Sequence[str]) -> None:
    """Before anything is planned or loaded: run folder and stores can be written to.

    Raises:
        MachineError: Naming the one that cannot.
    """
    require_writable(run_folder, "the run folder")
    for location in locations:
        if is_url(location):
            Bucket(location).require_writable()
            continue
        store = Path(location).expanduser().absolute()
        if existing(store) != store:
            require_writable(store.parent, "the folder of the store")


def require_store_room(
    stores: Sequence[tuple[str, Header, Sequence[PlannedVolume]]], check_space: bool
) -> None:
    """Before the first volume: the stores take files, and what is to be embedded fits.

    Args:
        stores: Of each open one the location, its header, and what is to be embedded, each volume with its
            upper bound of slices.
        check_space: Whether to hold the bounds against the free space, together where a disk is shared.

    Raises:
        MachineError: Saying what is needed and what is there.
    """
    disks: dict[int, tuple[int, int]] = {}
    for location, header, volumes in stores:
        if is_url(location):
            continue  # it took what opening it wrote, and nobody says how much more it takes
        require_writable(f"{location}/{TEMPORARY}", "the store")
        if check_space:
            disk = os.stat(location).st_dev
            so_far = disks.get(disk, (0, 0))
            n_bytes, n_files = (
                a + b for a, b in zip(so_far, needed(header.arrays, header.slice_chunk, volumes), strict=True)
            )
            disks[disk] = n_bytes, n_files
            what = "the store" if so_far == (0, 0) else "the stores up to"
            require_room(location, what, n_bytes, n_files, advice=ADVICE)


def needed(
    arrays: Sequence[ArraySpec], slice_chunk: int, volumes: Sequence[PlannedVolume]
) -> tuple[int, int]:
    """Bytes and files that volumes take at most: whole chunks, since a chunk is padded to its full length.

    Args:
        arrays: Of the store.
        slice_chunk: As its header says it.
        volumes: That are to be embedded.
    """
    n_bytes = n_files = 0
    for spec in arrays:
        step = slices_of_chunk(slice_chunk, spec)
        blocks = sum(-(-volume.max_slices // step) for volume in volumes)
        n_bytes += blocks * step * item_bytes(spec)
        n_files += blocks
    beside = len(volumes) * BESIDE_FILES + min(FOLDERS, 2 * len(volumes))
    return n_bytes + len(volumes) * BESIDE_BYTES, n_files + beside
