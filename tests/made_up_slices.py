"""Volumes of drawn slices, ready to be embedded, and an embedder that takes them."""

import numpy as np
import torch

from cache_schema.format.record import Entities, Geometry, Slices, SourceFile, UsedForeground, VolumeDraft
from extract.backbones.untrained import UntrainedSpec
from extract.engines.embed import Embedder
from extract.slices.prepare import PreparedVolume

CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERY = frozenset(
    {"cls", "cls_l02", "patch_mean", "patches", "foreground", "patch_intensity", "cls_attention"}
)


def draft_of(name: str, count: int) -> VolumeDraft:
    eye = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return VolumeDraft(
        participant_id=name,
        session_id="",
        volume_id="T1w",
        entities=Entities(),
        source=SourceFile(path=name, bytes=1, mtime_ns=1, sha256="0" * 64),
        geometry=Geometry(
            native_shape=(5, 7, count),
            affine=eye,
            orientation="RAS",
            spacing_mm=(1.0, 1.0, 1.0),
            oblique_degrees=0.0,
            canvas=(56, 56),
            pixel_mm=(1.0, 1.0),
            canvas_to_native=((0.0, 1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)),
            outside_field=0.0,
        ),
        slices=Slices(
            index=tuple(range(count)),
            height_mm=tuple(float(count - i) for i in range(count)),
            world_z_mm=tuple(float(i) for i in range(count)),
            n_volume=count,
            spacing_mm=1.0,
        ),
        foreground=UsedForeground(kind="stripped", millilitres=1.0),
        intensity_quantiles={},
        seconds={"read": 0.5},
    )


def prepared_of(name: str, count: int, height: int = 61, width: int = 47, empty: int = 0) -> PreparedVolume:
    """A drawn volume; the first `empty` slices have no foreground."""
    rng = np.random.default_rng(count * height)
    mask = (rng.random((count, height, width)) < 0.4).astype(np.uint8)
    mask[:, : height // 2] = 0
    mask[:empty] = 0
    weights = [np.abs(rng.random((56, n))).astype(np.float32) for n in (height, width)]
    rows, columns = (w / w.sum(axis=1, keepdims=True) for w in weights)
    images = rng.random((count, height, width)).astype(np.float32)
    return PreparedVolume(draft_of(name, count), images, mask, rows, columns)


def embed(volumes, batch_size, dtype=torch.float32, names=EVERY, backbone=None):
    network = backbone or UntrainedSpec().build(56, CPU, dtype, layers=(2,), attention=True)
    embedder = Embedder(network, CPU, names, batch_size, MEAN, STD)
    done = [finished for volume in volumes for finished in embedder.add(volume)]
    done += embedder.flush()
    return {made.draft.participant_id: (made.draft, made.arrays, made.preview()) for made in done}, embedder
