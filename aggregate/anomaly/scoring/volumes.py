"""Scores of whole volumes, read once for all detectors of a store.

What is kept of a volume is the raw token map and one raw score per slice. Standardisation by height comes
later and is one line per slice, so that neither thresholds nor options ever ask for a second read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.anomaly.arithmetic.scales.height_scale import HeightScale
from aggregate.anomaly.detectors.base import Detector, SliceBatch
from aggregate.anomaly.fitting.stream import SliceStream
from cache_schema.format.header import FloatName
from cache_schema.store.reader import StoreReader, VolumeEntry

ScoreArray = NDArray[np.float32]

BATCH = 32
"""Slices scored at once, always of one volume, so that a volume's scores do not depend on others."""

TOP_SHARE = 0.01
"""A volume's score is the mean of this share of its foreground tokens, the highest ones."""


@dataclass(frozen=True, slots=True)
class VolumeScores:
    """One volume's raw scores by one detector."""

    tokens: ScoreArray
    """`(slice, row, col)`."""
    slices: ScoreArray
    """`(slice,)`, by the detector's own rule."""
    seconds: float
    """That scoring took, without reading."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is needed of a volume beside its scores."""

    foreground: ScoreArray
    """`(slice, row, col)`: share of the patch inside the foreground."""
    height_mm: ScoreArray
    """`(slice,)`."""


def surroundings(store: StoreReader, entry: VolumeEntry) -> Surroundings:
    """Read them; small beside the tokens."""
    heights = np.asarray(store.record(entry.key).slices.height_mm, dtype=np.float32)
    return Surroundings(store.read_volume("foreground", entry.key).astype(np.float32), heights)


def score_volumes(
    stream: SliceStream,
    wanted: Callable[[VolumeEntry], Sequence[Detector]],
    storage: FloatName = "float32",
    progress: Callable[[int, int], None] | None = None,
    turn: AbstractContextManager[Any] | None = None,
) -> Iterator[tuple[VolumeEntry, list[VolumeScores]]]:
    """Score volume by volume.

    Args:
        stream: Of all slices of the volumes.
        wanted: The detectors that score a volume.
        storage: Tokens are rounded through it first: that of the fit.
        progress: Told of every batch.
        turn: Held while a batch is scored, so that of several threads one scores and the others read.

    Yields:
        A volume and its scores, in the order of `wanted`.
    """
    pending: VolumeEntry | None = None
    detectors: Sequence[Detector] = ()
    parts: list[list[VolumeScores]] = []
    done = 0
    for entry, batch in stream.in_order(BATCH):
        if pending is not None and entry.key != pending.key:
            yield pending, [_joined(own) for own in parts]
        if pending is None or entry.key != pending.key:
            pending, detectors = entry, wanted(entry)
            parts = [[] for _ in detectors]
        with turn or nullcontext():
            for own, detector in zip(parts, detectors, strict=True):
                own.append(score_batch(detector, rounded(batch, storage)))
        done += len(batch)
        if progress is not None:
            progress(done, stream.n_slices)
    if pending is not None:
        yield pending, [_joined(own) for own in parts]


def score_batch(detector: Detector, batch: SliceBatch) -> VolumeScores:
    """Some slices of a volume."""
    start = time.perf_counter()
    batch = batch.of(detector.spec.tokens)
    with torch.no_grad():
        tokens = detector.score(batch)
        slices = detector.score_slices(batch, tokens)
    seconds = time.perf_counter() - start
    return VolumeScores(tokens.float().numpy(), slices.float().numpy(), seconds)


def rounded(batch: SliceBatch, storage: FloatName) -> SliceBatch:
    """A batch as a store of this dtype would hold it."""
    if storage == "float32":
        return batch

    def through(values: torch.Tensor) -> torch.Tensor:
        return values.to(torch.float16).to(torch.float32)

    return SliceBatch(
        patches=through(batch.patches),
        foreground=through(batch.foreground),
        intensity=through(batch.intensity),
        cls=through(batch.cls),
        height_mm=batch.height_mm,
        volume=batch.volume,
        layers={name: through(values) for name, values in batch.layers.items()},
    )


def _joined(parts: Sequence[VolumeScores]) -> VolumeScores:
    """Batches of one volume behind one another."""
    return VolumeScores(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.slices for part in parts]),
        sum(part.seconds for part in parts),
    )


def standardise_scores(
    scores: VolumeScores, scale: HeightScale | None, height_mm: ScoreArray
) -> VolumeScores:
    """Scores in standard deviations from normals of the same height, or as they are without a scale."""
    if scale is None:
        return scores
    heights = torch.from_numpy(height_mm)
    tokens = scale.apply(torch.from_numpy(scores.tokens), heights).numpy()
    slices = scale.apply(torch.from_numpy(scores.slices)[:, None, None], heights).numpy()[:, 0, 0]
    return VolumeScores(tokens.astype(np.float32), slices.astype(np.float32), scores.seconds)


def volume_score(tokens: ScoreArray, foreground: ScoreArray) -> float:
    """The mean of the highest 1 % of foreground token scores (at least one); 0 without foreground."""
    inside = tokens[foreground > 0]
    if not len(inside):
        return 0.0
    count = max(1, int(len(inside) * TOP_SHARE))
    return float(np.partition(inside, len(inside) - count)[-count:].mean(dtype=np.float64))
