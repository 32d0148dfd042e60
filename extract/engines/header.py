"""The header that a store gets: what is meant, with which arithmetic, and who made it."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from cache_schema.cluster.alike import library_version
from cache_schema.common.terminal.called import asked_by
from cache_schema.format.header import Fingerprint, FloatName, Header, Numerics
from cache_schema.format.layout import token_arrays
from extract.arithmetic.processor import processor_kind
from extract.backbones.backbone import Backbone, require_normalised, require_storable, stored_tokens
from extract.engines.device import device_name
from extract.slices.preprocessing import Preprocessing

LIBRARIES = (
    *("slicecache", "torch", "numpy", "nibabel", "scipy", "pillow", "safetensors", "zarr"),
    *("openvino", "zlib-ng"),
)
"""That have a part in the numbers; the last two where they are installed."""


def make_header(
    backbone: Backbone,
    preprocessing: Preprocessing,
    *,
    tokens: Sequence[str],
    compute: Literal["float32", "bfloat16", "auto"],
    engine: Literal["torch", "openvino", "auto"],
    storage: FloatName,
    slice_chunk: int,
    created: Mapping[str, Any],
) -> Header:
    """The header of a store that keeps these tokens of this backbone.

    Raises:
        ConfigError: If the backbone has no such tokens, they could overflow the storage, or its pixels
            must be normalised otherwise.
    """
    require_storable(backbone, storage)
    preprocessing = preprocessing.for_backbone(backbone.normalised)
    require_normalised(backbone, (preprocessing.mean, preprocessing.std))
    return Header(
        fingerprint=Fingerprint(
            backbone=backbone.identity,
            plane=preprocessing.plane,
            preprocessing=preprocessing.fingerprint_steps(),
            slices=preprocessing.fingerprint_slices(),
        ),
        numerics=Numerics(
            compute_dtype=compute,
            storage_dtype=storage,
            resize_backend=preprocessing.resize_backend,
            engine=engine,
        ),
        arrays=token_arrays(
            stored_tokens(tokens, backbone.offers),
            dim=backbone.dim,
            heads=backbone.heads,
            grid=backbone.grid,
            dtype=storage,
            layers=backbone.identity.layers,
            registers=backbone.registers,
        ),
        slice_chunk=slice_chunk,
        created=dict(created),
    )


def provenance(
    device: torch.device, base: Path, batch_size: int, configuration: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything about the making of a store that is in neither hash."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "device": device_name(device),
        "processor": processor_kind(),
        "threads": torch.get_num_threads(),
        "libraries": {name: library_version(name) for name in LIBRARIES},
        "command": asked_by("extract"),
        "folder": os.path.abspath(base),
        "batch_size": batch_size,
        "configuration": dict(configuration),
    }
