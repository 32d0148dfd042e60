"""Intervals of pixel metrics: participants are drawn again, never voxels, slices or sessions.

A participant's voxels hang together, so whole tallies are resampled. Participants with and without lesions
are drawn separately, so that no draw lacks one of them. Tallies are coarsened first: 4,096 bins per
participant are enough for an interval and a sixteenth of the memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.anomaly.measure.histogram import VoxelTally
from aggregate.anomaly.measure.metrics import aupro, average_precision, best_dice, binned_auroc, dice, divided
from aggregate.statistics import metrics

DRAWS = 1000
DRAWS_AT_ONCE = 64
"""Draws measured at once: bounds the memory."""

FEWEST = 5
"""Participants with lesions that an interval takes: with one, it would only say how the normals vary."""

COVERAGE = 0.95
METHOD = "percentile bootstrap over participants, stratified by what is to be found, level 0.95"


def participant_intervals(
    tallies: Sequence[VoxelTally], thresholds: Sequence[str] = (), draws: int = DRAWS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the metrics of one region.

    Args:
        tallies: One per participant, over all their volumes, coarsened alike.
        thresholds: Names of their thresholds.
        draws: Bootstrap draws.
        seed: Of the draws.

    Returns:
        Low and high by metric: pixel_auroc, pixel_ap, aupro, dice_oracle and, per threshold, `dice_NAME`
        and `lesion_sensitivity_NAME`; NaN where no draw defines it.
    """
    drawn = participant_draws(tallies, thresholds, draws, seed)
    return {name: percentiles(values) for name, values in drawn.items()}


def participant_draws(
    tallies: Sequence[VoxelTally], thresholds: Sequence[str] = (), draws: int = DRAWS, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """The metrics of every draw, `(draw,)`; NaN when fewer than `FEWEST` participants have lesions.

    The same participants are drawn for every detector whose tallies are of the same participants in the same
    order, so that differences between two detectors have intervals too.

    Args:
        tallies: As in `participant_intervals`.
        thresholds: As there.
        draws: As there.
        seed: As there.
    """
    sick = np.array([tally.lesion.sum() + tally.hidden > 0 for tally in tallies])
    drawn = _draw(sick, draws, seed)
    stacked = _Stacked.of(tallies)
    values: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, draws, DRAWS_AT_ONCE):
        for name, part in stacked.measured(drawn[start : start + DRAWS_AT_ONCE], thresholds).items():
            values.setdefault(name, []).append(part)
    enough = sick.sum() >= FEWEST
    return {name: np.concatenate(p) if enough else np.full(draws, np.nan) for name, p in values.items()}


def auroc_interval(
    y: NDArray[np.bool_],
    scores: NDArray[np.floating],
    participants: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float, float]:
    """AUROC of slices or volumes with its interval over participants: value, low, high.

    Args:
        y: Whether each slice (or volume) shows a lesion.
        scores: One each.
        participants: Whose each is.
        draws: Bootstrap draws.
        seed: Of the draws.
    """
    value, found = auroc_draws(y, scores, participants, draws, seed)
    return (value, *percentiles(found))


def auroc_draws(
    y: NDArray[np.bool_],
    scores: NDArray[np.floating],
    participants: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, NDArray[np.float64]]:
    """AUROC of slices or volumes, and that of every draw of participants, `(draw,)`.

    Args:
        y: As in `auroc_interval`.
        scores: As there.
        participants: As there.
        draws: As there.
        seed: As there.
    """
    names, whose = np.unique(np.asarray(participants), return_inverse=True)
    sick = np.bincount(whose, weights=y, minlength=len(names)) > 0
    levels, place = np.unique(scores, return_inverse=True)
    value = metrics.auroc(np.asarray(y, dtype=np.int64), np.asarray(scores, dtype=np.float64))
    found = []
    for weight in _draw(sick, draws, seed):
        own = weight[whose]
        normal, lesion = (np.bincount(place, weights=own * side, minlength=len(levels)) for side in (~y, y))
        found.append(binned_auroc(normal, lesion))
    return value, np.array(found)


def _draw(sick: NDArray[np.bool_], draws: int, seed: int) -> NDArray[np.float64]:
    """`(draw, participant)`: how often each is drawn, strata apart."""
    rng = np.random.default_rng((seed, 7))
    counts = np.zeros((draws, len(sick)))
    for stratum in (np.flatnonzero(sick), np.flatnonzero(~sick)):
        if len(stratum):
            shares = np.full(len(stratum), 1 / len(stratum))
            counts[:, stratum] = rng.multinomial(len(stratum), shares, size=draws)
    return counts


def percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle `COVERAGE` of the draws that define the metric."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class _Stacked:
    """All participants' tallies as arrays with a leading participant axis, in float64 for products."""

    counts: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, tallies: Sequence[VoxelTally]) -> "_Stacked":
        names = ("normal", "lesion", "weight", "n_lesions", "called", "found", "overlap")
        return cls(
            {name: np.stack([np.asarray(getattr(t, name), np.float64) for t in tallies]) for name in names}
        )

    def measured(
        self, drawn: NDArray[np.float64], thresholds: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        """Metrics `(draw,)` of the merged tallies of each draw."""
        merged = {name: np.tensordot(drawn, counts, axes=1) for name, counts in self.counts.items()}
        normal, lesion, n_lesions = merged["normal"], merged["lesion"], merged["n_lesions"]
        out = {
            "pixel_auroc": binned_auroc(normal, lesion),
            "pixel_ap": average_precision(normal, lesion),
            "aupro": aupro(normal, merged["weight"], n_lesions),
            "dice_oracle": best_dice(normal, lesion)[0],
        }
        for row, name in enumerate(thresholds):
            alarms, hits = merged["called"][:, row, 0], merged["called"][:, row, 1]
            out[f"dice_{name}"] = dice(alarms, hits, lesion.sum(-1))
            out[f"lesion_sensitivity_{name}"] = divided(merged["found"][:, row], n_lesions)
            out[f"pro_{name}"] = divided(merged["overlap"][:, row], n_lesions)
        return out
