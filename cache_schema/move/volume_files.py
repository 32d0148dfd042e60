"""One HDF5 file per volume, in the layout that multiple-instance programs of pathology read.

CLAM and TRIDENT read `features` (n, dim) and `coords` (n, 2); STAMP reads `feats`, which is here the
same dataset under a second name, and `coords` in micrometres, told by the attributes `unit` and
`tile_size_um`. A slice stands where a patch does: its second coordinate is its height.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.common.terminal.progress import Progress
from cache_schema.common.text.cells import safe_cell
from cache_schema.files.h5.out import new_h5
from cache_schema.format.header import ArraySpec
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord
from cache_schema.move.copying import whole_volume
from cache_schema.move.pseudonyms import Pseudonyms
from cache_schema.store.reader import StoreReader

FILE_TABLE = "volumes.csv"
"""Which file is whose; named so that the folder's .h5 files are volumes only."""
UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
FILE_COLUMNS = ("slide_id", "case_id", "participant_id", "session_id", "volume_id", "n")


def write_volumes(
    store: StoreReader,
    folder: Path,
    tokens: str,
    pseudonyms: Pseudonyms | None = None,
    progress: Progress | None = None,
) -> None:
    """Write every committed volume to a new folder.

    Raises:
        StoreError: If the array holds no tokens, two volumes would share a file, or one is damaged.
    """
    spec = token_spec(store, tokens)
    keys = {entry.key: pseudonyms.key(entry.key) if pseudonyms else entry.key for entry in store.entries}
    names = file_names(list(keys.values()))
    folder.mkdir()
    rows = []
    for done, entry in enumerate(sorted(store.entries, key=lambda entry: keys[entry.key]), start=1):
        key, record = keys[entry.key], store.record(entry.key)
        features = whole_volume(store, entry)[tokens]
        write_volume_file(folder / f"{names[key]}.h5", features, spec, record, key, store)
        rows.append([names[key], key.participant_id, *key.as_list(), str(features[..., 0].size)])
        if progress is not None:
            progress(done, len(keys))
    _write_table(folder / FILE_TABLE, rows)


def token_spec(store: StoreReader, tokens: str) -> ArraySpec:
    """The array of a name, if it holds tokens.

    Raises:
        StoreError: If the store has none, or it has no axis `dim`.
    """
    spec = store.layout(tokens).spec
    if spec.dims[-1] != "dim":
        raise StoreError(
            f"{tokens!r} holds no tokens, so it cannot be features; use cls, patch_mean or patches"
        )
    return spec


def file_names(keys: list[VolumeKey]) -> dict[VolumeKey, str]:
    """A file name per volume, made of its key's letters, digits, `.`, `_` and `-`.

    Raises:
        StoreError: If two volumes would share one.
    """
    plain = {key: "_".join(UNSAFE.sub("-", part) for part in key.as_list() if part) for key in keys}
    # A name that begins with a dash is an option to some programs and a formula to others.
    names = {key: f"_{name}" if name.startswith(("-", ".")) else name for key, name in plain.items()}
    seen: dict[str, VolumeKey] = {}
    for key, name in names.items():
        # Some file systems do not tell capitals apart.
        other = seen.setdefault(name.lower(), key)
        if other != key:
            raise StoreError(f"volumes {other} and {key} would share the file {name}.h5; use --pseudonymise")
    return names


def coordinates(record: VolumeRecord, spec: ArraySpec) -> NDArray[np.int32]:
    """Where each token lies, in micrometres.

    `(0, below the vertex)` of a slice; `(right, down, below the vertex)` of a patch, with the place of
    its upper left corner on the canvas.
    """
    below = np.round(1000 * np.array(record.slices.height_mm)).astype(np.int32)
    if spec.dims[2:4] != ("row", "col"):  # several tokens of a slice, as registers, lie in one place
        below = below.repeat(math.prod(spec.item_shape[:-1]))
        return np.stack([np.zeros_like(below), below], axis=1)
    rows, columns = spec.item_shape[:2]
    height, width = (
        canvas * mm * 1000
        for canvas, mm in zip(record.geometry.canvas, record.geometry.pixel_mm, strict=True)
    )
    down = np.round(np.arange(rows) * height / rows).astype(np.int32)
    across = np.round(np.arange(columns) * width / columns).astype(np.int32)
    z, y, x = np.meshgrid(below, down, across, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)


def write_volume_file(
    path: Path,
    features: NDArray[Any],
    spec: ArraySpec,
    record: VolumeRecord,
    key: VolumeKey,
    store: StoreReader,
) -> None:
    """Write one file.

    Args:
        path: The file.
        features: `(slice, *item_shape)`; all axes before the last become one.
        spec: Of the array.
        record: Of the volume.
        key: What the file calls it.
        store: Where it comes from.
    """
    spacing_um = 1000 * record.slices.spacing_mm
    with new_h5(path) as file:
        # CLAM hands them to its layers as they are, and those are float32.
        file["features"] = features.reshape(-1, features.shape[-1]).astype(np.float32)
        file["feats"] = file["features"]
        file["coords"] = coordinates(record, spec)
        file["slice_index"] = np.array(record.slices.index, dtype=np.int32)
        file["height_mm"] = np.array(record.slices.height_mm)
        file.attrs.update(
            {
                "feat_type": "tile",
                "unit": "um",
                "tile_size": spacing_um,
                "tile_size_um": spacing_um,
                "extractor": f"slicecache-{store.header.fingerprint.digest[:16]}",
                "tokens": spec.name,
                "fingerprint": store.header.fingerprint.digest,
                **dict(zip(("participant_id", "session_id", "volume_id"), key.as_list(), strict=True)),
            }
        )


def _write_table(path: Path, rows: list[list[str]]) -> None:
    """Write the table of files; `slide_id` and `case_id` are CLAM's words for file and participant."""
    import csv

    with path.open("x", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(FILE_COLUMNS)
        table.writerows(map(safe_cell, row) for row in rows)
