"""A made-up header, table and volumes, for tests and benchmarks."""

import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.format.canonical import sha256_json
from cache_schema.format.header import BackboneIdentity, Fingerprint, FloatName, Header, Numerics
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import token_arrays
from cache_schema.format.record import (
    Entities,
    Geometry,
    Slices,
    SourceFile,
    TableRow,
    UsedForeground,
    VolumeDraft,
)

IDENTITY_3X4 = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))
IDENTITY_4X4 = (*IDENTITY_3X4, (0.0, 0.0, 0.0, 1.0))


def example_header(
    tokens: Sequence[str] = ("cls", "patch_mean"),
    *,
    dim: int = 7,
    heads: int = 2,
    grid: tuple[int, int] = (3, 5),
    storage: FloatName = "float16",
    slice_chunk: int = 11,
    weights: str = "weights",
    plane: Any = "axial",
    quantile: float = 99.5,
    compute: Any = "float32",
    created: dict[str, Any] | None = None,
    view: dict[str, Any] | None = None,
) -> Header:
    """A header of a backbone that does not exist; `weights`, `quantile`, `compute`, `view`, ... vary it."""
    backbone = BackboneIdentity(
        architecture={"kind": "untrained", "dim": dim, "heads": heads, "patch_size": 14, "canvas": 70},
        weights_sha256=sha256_json(weights),
        position_table="as drawn",
    )
    steps = (
        {"step": "orient", "to": "RAS"},
        {"step": "percentile", "low": 0.5, "high": quantile, "inside": "foreground"},
        {"step": "field", "mm": 224.0, "canvas": 70},
        *([{"step": "view", **view}] if view else []),
    )
    slices = {"kind": "foreground"}
    return Header(
        fingerprint=Fingerprint(backbone=backbone, plane=plane, preprocessing=steps, slices=slices),
        numerics=Numerics(compute_dtype=compute, storage_dtype=storage, resize_backend="matmul-float32"),
        arrays=token_arrays(tokens, dim=dim, heads=heads, grid=grid, dtype=storage, registers=2),
        slice_chunk=slice_chunk,
        created={"command": "example"} if created is None else created,
    )


def example_key(number: int, session: str = "") -> VolumeKey:
    """The key of a numbered participant's T1w volume."""
    return VolumeKey(f"p{number:03d}", session, "T1w")


def example_row(key: VolumeKey, max_slices: int) -> TableRow:
    """A table row."""
    return TableRow(
        participant_id=key.participant_id,
        session_id=key.session_id,
        volume_id=key.volume_id,
        path=f"sub-{key.participant_id}/anat/{key.volume_id}.nii.gz",
        max_slices=max_slices,
    )


def example_draft(key: VolumeKey, n_slices: int, **changes: Any) -> VolumeDraft:
    """A draft of a volume with slices 2 mm apart; `changes` replace whole fields."""
    source = SourceFile(
        path=example_row(key, n_slices).path, bytes=1000, mtime_ns=1, sha256=sha256_json(key.as_list())
    )
    geometry = Geometry(
        native_shape=(60, 70, n_slices + 4),
        affine=IDENTITY_4X4,
        orientation="RAS",
        spacing_mm=(1.0, 1.0, 2.0),
        oblique_degrees=0.0,
        canvas=(70, 70),
        pixel_mm=(1.0, 1.0),
        canvas_to_native=IDENTITY_3X4,
        outside_field=0.0,
    )
    heights = tuple(2.0 * (n_slices - 1 - i) for i in range(n_slices))
    slices = Slices(
        index=tuple(range(2, n_slices + 2)),
        height_mm=heights,
        world_z_mm=tuple(60.0 - height for height in heights),
        n_volume=n_slices + 4,
        spacing_mm=2.0,
    )
    draft = VolumeDraft(
        participant_id=key.participant_id,
        session_id=key.session_id,
        volume_id=key.volume_id,
        entities=Entities(contrast="T1w"),
        source=source,
        geometry=geometry,
        slices=slices,
        foreground=UsedForeground(kind="head", millilitres=3100.5),
        intensity_quantiles={"q0.5": 3.0, "q50": 220.0, "q99.5": 870.0},
        seconds={"read": 0.25},
    )
    return draft.model_copy(update=changes)


def example_arrays(header: Header, n_slices: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random float32 embeddings of one volume for every array of a header."""
    generator = np.random.default_rng(seed)
    return {
        spec.name: generator.standard_normal((n_slices, *spec.item_shape), dtype=np.float32)
        for spec in header.arrays
    }


def tiny_png(grey: int) -> bytes:
    """A picture of one pixel, so that previews of a number differ."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes([0, grey])),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )


def zipped(folder: str | Path) -> str:
    """A zip beside a folder store, `s.zip` of `s.zarr`, as anybody's program would make it."""
    made = Path(folder).with_suffix("")
    return shutil.make_archive(str(made), "zip", folder)
