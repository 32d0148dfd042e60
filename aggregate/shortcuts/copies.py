"""One image under two participants: found by its tokens when its file was compressed or saved anew."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aggregate.cohort.cohort import Cohort
from aggregate.common.arrays import Floats
from aggregate.common.table_values import listed
from aggregate.shortcuts.nearness import FEWEST, nearest_others, nearness_p
from cache_schema.common.errors import SlicecacheError

LEVEL = 0.01
"""Share of cohorts without copies in which any pair is named, at most."""
SHOWN = 3
SAME = 1e-9
"""Intensities that differ by less of themselves are equal."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Two volumes (or bags of several) that look like one."""

    a: str
    b: str
    nearer: float | None
    """How many times nearer to each other than a participant's fifth neighbour usually is; None: no bound."""
    p: float
    """Times the bags that were looked at."""


def refuse_copies(cohort: Cohort, pooled: Floats) -> dict[str, Any]:
    """Look for copies before anything is trained.

    Args:
        cohort: Whom the bags are of.
        pooled: Mean-pooled tokens (bag, dim).

    Returns:
        `copies` of `metrics.json`: `searched` (bags), `level`, `pairs` and `said`, empty where there is none.

    Raises:
        SlicecacheError: If two volumes are near and have the same intensities: naming both.
    """
    pairs = find_copies(pooled, cohort.participants.tolist())
    quantiles = intensities(cohort)
    found = []
    for a, b, nearer, p in pairs:
        one = Copy(_called(cohort, a), _called(cohort, b), nearer, p)
        if same_image(quantiles, a, b):
            raise SlicecacheError(
                f"{one.a} and {one.b} are one image saved twice: their tokens are next to each other and "
                "their intensities are equal, so one of them would be trained on while the other is tested; "
                "leave one out by where"
            )
        found.append(one)
    return {
        "searched": len(pooled) if cohort.n_participants() >= FEWEST else 0,
        "level": LEVEL,
        "pairs": [asdict(one) for one in found],
        "said": _said(found),
    }


def find_copies(pooled: Floats, participants: Sequence[str]) -> list[tuple[int, int, float | None, float]]:
    """Pairs of rows of different participants that are nearer than strangers are.

    Args:
        pooled: Rows (row, dim).
        participants: Of every row.

    Returns:
        Both rows, how many times nearer, and p times the number of rows; ascending.
    """
    if len(set(participants)) < FEWEST:
        return []
    distances, first = nearest_others(pooled, participants)
    p, known = nearness_p(distances) * len(pooled), np.isfinite(distances[:, -1])
    usual = float(np.median(distances[known, -1])) if known.any() else 0.0
    pairs: dict[tuple[int, int], tuple[float | None, float]] = {}
    for row in np.flatnonzero(p <= LEVEL).tolist():
        other, own = int(first[row]), float(distances[row, 0])
        ratio = usual / own if own > 1e-6 * usual else None
        pair = (min(row, other), max(row, other))
        pairs[pair] = (ratio, min(float(p[row]), pairs.get(pair, (None, 1.0))[1]))
    return [(a, b, *pairs[a, b]) for a, b in sorted(pairs)]


def intensities(cohort: Cohort) -> list[tuple[float, ...]]:
    """The quantiles of every bag's intensities, volume after volume."""
    found: list[list[float]] = [[] for _ in range(len(cohort.frame))]
    for bag, record in zip(cohort.bag.tolist(), cohort.records, strict=True):
        found[bag] += [value for _, value in sorted(record.intensity_quantiles.items())]
    return [tuple(values) for values in found]


def same_image(quantiles: Sequence[tuple[float, ...]], a: int, b: int) -> bool:
    """Whether two bags' intensities are equal, and are nobody else's (those of made-up images may be)."""
    own, other = np.array(quantiles[a]), np.array(quantiles[b])
    if not len(own) or own.shape != other.shape or not np.allclose(own, other, rtol=SAME, atol=0):
        return False
    return Counter(quantiles)[quantiles[a]] <= 2


def _called(cohort: Cohort, bag: int) -> str:
    row = cohort.frame.iloc[bag]
    return " ".join(str(row[name]) for name in ("participant_id", "session_id", "volume_id") if row[name])


def _said(found: Sequence[Copy]) -> str:
    if not found:
        return ""
    shown = listed([f"{one.a} and {one.b}" for one in found], SHOWN)
    near = min((one.nearer for one in found if one.nearer is not None), default=None)
    times = "as near as copies are" if near is None else f"at least {near:.0f} times nearer than usual"
    return (
        f"look like one image under two participants: {shown} (their tokens are {times}; of cohorts without "
        f"copies at most {LEVEL:.0%} have such a pair); look at both, and leave one out by where"
    )
