"""Time to an event in one number: `y > 0` is an event at y, `y < 0` the end of observation without it at -y.

That is how XGBoost's `survival:cox` has it. Times are positive, so nothing is lost.
"""

import numpy as np

from aggregate.common.arrays import Floats, Ints

TIME_BINS = 4
"""Within events and within the others, for folds that hold early and late times alike."""


def signed_times(time: Floats, event: Ints) -> Floats:
    """One number for each pair (row,)."""
    return np.where(np.asarray(event) != 0, time, -np.asarray(time, dtype=np.float64))


def times_of(signed: Floats) -> Floats:
    """Time of the event or of the end of the observation (row,)."""
    return np.abs(signed)


def events_of(signed: Floats) -> Ints:
    """1 where the event was seen (row,)."""
    return (np.asarray(signed) > 0).astype(np.int64)


def signed_ranks(signed: Floats) -> Ints:
    """Dense ranks of the times from 1 with the same signs (row,): all that a partial likelihood reads.

    They are exact where the times, in less precision, would become ties.
    """
    rank = np.unique(times_of(signed), return_inverse=True)[1] + 1
    return np.where(np.asarray(signed) > 0, rank, -rank).astype(np.int64)


def strata_of(signed: Floats, bins: int = TIME_BINS) -> Ints:
    """Event x time bin of every row, counting from 0 (row,); bins hold equal numbers, ties together.

    Rows of equal times share a bin, and few rows make few bins: at least four of a kind in each.
    """
    strata = np.zeros(len(signed), dtype=np.int64)
    events, times = events_of(signed), times_of(signed)
    for event in (0, 1):
        own = events == event
        n = max(1, min(bins, int(own.sum()) // 4))
        inner = np.quantile(times[own], np.arange(1, n) / n) if own.any() else []
        strata[own] = event * bins + np.searchsorted(inner, times[own], side="left")
    return np.unique(strata, return_inverse=True)[1].astype(np.int64)
