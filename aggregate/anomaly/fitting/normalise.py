"""Scores of held-out normals: per-height standardisation, and thresholds at wanted false positive rates.

Scores rise near the vertex and the base, where few normals look alike; `HeightScale` takes out what
normals' scores do along height. Thresholds are quantiles of held-out normal token scores.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.anomaly.arithmetic.scales.height_scale import HeightScale, fit_heights
from aggregate.anomaly.detectors.base import Detector, SliceBatch
from aggregate.anomaly.fitting.rebatch import Rebatch
from aggregate.anomaly.fitting.stream import SliceStream
from cache_schema.common.errors import SlicecacheError

FALSE_POSITIVES = (0.10, 0.05, 0.01)
"""Rates that thresholds are given for."""
SLICES = 20_000
"""Held-out slices that are looked at, drawn at random; their foreground scores stay in memory."""


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """What held-out normals say of a detector's scores."""

    thresholds: dict[float, float]
    """By false positive rate: at most this share of normal foreground tokens scores above it."""
    scale: HeightScale | None
    """If asked for; the thresholds are then of standardised scores."""
    n_slices: int
    n_tokens: int


def calibrate_detector(
    detector: Detector,
    held_out: SliceStream,
    *,
    per_height: bool = False,
    rates: Sequence[float] = FALSE_POSITIVES,
    slices: int = SLICES,
) -> ScoreCalibration:
    """Score held-out normals once and set thresholds.

    Args:
        detector: Fitted.
        held_out: Normal slices of participants outside the fit.
        per_height: Standardise by height.
        rates: Of false positives among foreground tokens.
        slices: The most slices to look at.

    Raises:
        SlicecacheError: If no held-out slice has foreground.
    """
    return calibration_of(list(_foreground_scores(detector, held_out, slices)), per_height, rates)


def calibration_of(
    found: Sequence[tuple[float, NDArray[np.float32]]],
    per_height: bool = False,
    rates: Sequence[float] = FALSE_POSITIVES,
) -> ScoreCalibration:
    """Set thresholds by scores that are there.

    Args:
        found: Height and foreground token scores `(token,)` of every held-out normal slice.
        per_height: Standardise by height.
        rates: Of false positives among foreground tokens.

    Raises:
        SlicecacheError: If no slice has foreground.
    """
    if not found:
        raise SlicecacheError("there is no held-out normal slice, so no threshold can be set")
    scores = torch.from_numpy(np.concatenate([values for _, values in found]))
    if not len(scores):
        raise SlicecacheError("no held-out normal slice has foreground, so no threshold can be set")
    scale = None
    if per_height:
        lengths = torch.tensor([len(values) for _, values in found])
        height = torch.tensor([height for height, _ in found]).repeat_interleave(lengths)
        scale = fit_heights(scores, height)
        scores = scale.apply(scores[:, None, None], height).flatten()
    thresholds = {rate: quantile_above(scores.numpy(), rate) for rate in rates}
    return ScoreCalibration(thresholds, scale, len(found), len(scores))


def _foreground_scores(
    detector: Detector, stream: SliceStream, slices: int
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Height and foreground token scores of some slices."""
    rebatch, left = Rebatch(detector.batch_slices), slices
    for piece in stream.shuffled(0):
        some = piece.take(slice(left))
        left -= len(some)
        batches = [*rebatch.push(some), *(rebatch.rest() if left == 0 else ())]
        for batch in batches:
            yield from _by_slice(detector, batch)
        if left == 0:
            return
    for batch in rebatch.rest():
        yield from _by_slice(detector, batch)


def _by_slice(detector: Detector, batch: SliceBatch) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Height and foreground token scores of each slice of a batch."""
    scores = detector.score(batch.of(detector.spec.tokens))
    for one, inside, height in zip(scores, batch.foreground > 0, batch.height_mm, strict=True):
        yield float(height), one[inside].numpy()


def quantile_above(scores: NDArray[np.floating], rate: float) -> float:
    """The smallest of the scores that at most a share `rate` of them exceeds."""
    above = int(np.floor(rate * len(scores) + 1e-9))
    return float(np.partition(scores, len(scores) - 1 - above)[len(scores) - 1 - above])
