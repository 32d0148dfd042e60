"""Whether two members have the same map of a volume: Spearman's correlation over its slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from aggregate.common.arrays import Floats
from aggregate.predict.bundle import Member


@dataclass(frozen=True, slots=True)
class Agreement:
    """Between members, the mean over volumes."""

    value: float
    volumes: int


def spearman(one: Floats, other: Floats) -> float:
    """Of two maps (slice,); NaN where one is even or has fewer than three slices."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def kind_of_pair(one: Member, other: Member) -> str:
    """What the two differ in: `seeds` of one fold, or `folds`."""
    return "seeds" if (one.repeat, one.fold) == (other.repeat, other.fold) else "folds"


def agreement(maps: Sequence[tuple[Member, Floats]], keep: NDArray[np.bool_]) -> dict[str, list[float]]:
    """Between members that follow each other, of one bag: by what they differ in.

    Args:
        maps: Members and their maps (question, slice).
        keep: Its real slices.
    """
    found: dict[str, list[float]] = {}
    for (one, own), (other, its) in pairwise(maps):
        each = [spearman(a[keep], b[keep]) for a, b in zip(own, its, strict=True)]
        known = [value for value in each if not np.isnan(value)]
        if known:
            found.setdefault(kind_of_pair(one, other), []).append(float(np.mean(known)))
    return found


def gathered(parts: Sequence[dict[str, list[float]]]) -> dict[str, Agreement]:
    """Of all bags."""
    names = sorted({name for part in parts for name in part})
    return {
        name: Agreement(float(np.mean(values)), len(values))
        for name in names
        if (values := [float(np.mean(part[name])) for part in parts if name in part])
    }
