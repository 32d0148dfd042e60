"""How good a risk is at telling who has the event first, and how long groups go without it.

Times are signed (`common/signed_times.py`). Curves and the log-rank test are scipy's.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.common.arrays import Floats
from aggregate.common.signed_times import events_of, times_of
from aggregate.statistics.metrics import ratio


def c_index(signed: Floats, risk: Floats) -> float:
    """Harrell's C: how often, of two participants, the one with the event first has the higher risk.

    Pairs count where the earlier time is an event; at equal times an event comes before an end of
    observation, and two events say nothing. Equal risks count half. NaN without a pair.

    Args:
        signed: Signed times (participant,).
        risk: Any score that grows with the hazard (participant,).
    """
    pairs, right = _pairs(signed, risk)
    return ratio(float(right.sum()), float(pairs.sum()))


def unos_c(signed: Floats, risk: Floats, train: Floats) -> float:
    """Uno's C (2011): pairs weighed so that it does not depend on how many are censored when.

    A pair weighs `1 / G(t)^2` at its earlier time t, with G the share of the training participants that are
    still observed, events not counted, just before t. Events where G is 0 are left out, as are those at or
    after the last time of training, up to which G is known.

    Args:
        signed: Signed times (participant,).
        risk: (participant,)
        train: Signed times of the training participants (other,), which G is of.
    """
    time = signed[events_of(signed) == 1]
    observed = still_observed(train, time)
    weight = np.divide(1.0, observed**2, out=np.zeros_like(observed), where=observed > 0)
    weight[time >= times_of(train).max()] = 0.0
    pairs, right = _pairs(signed, risk)
    return ratio(float(weight @ right), float(weight @ pairs))


def _pairs(signed: Floats, risk: Floats) -> tuple[Floats, Floats]:
    """With how many everybody with the event makes a pair, and how many of these are in order (event,)."""
    time, event = times_of(signed), events_of(signed) == 1
    own = time[event, None]
    later = (own < time) | ((own == time) & ~event)
    higher, equal = np.greater.outer(risk[event], risk), np.equal.outer(risk[event], risk)
    right = (later & higher).sum(axis=1) + 0.5 * (later & equal).sum(axis=1)
    return later.sum(axis=1).astype(np.float64), np.asarray(right, dtype=np.float64)


def still_observed(train: Floats, at: Floats) -> Floats:
    """Kaplan and Meier's share of those whose observation has not ended before some times (time,).

    An event that is tied with an end of observation comes first. Written out, since a bootstrap asks for
    thousands and scipy's curve takes a millisecond.
    """
    time, event = np.sort(times_of(train)), np.sort(train[train > 0])
    ended, number = np.unique(-train[train <= 0], return_counts=True)
    had = np.searchsorted(event, ended, side="right") - np.searchsorted(event, ended, side="left")
    at_risk = len(time) - np.searchsorted(time, ended, side="left") - had
    share = np.concatenate([[1.0], np.cumprod(1 - number / at_risk)])
    return np.asarray(share[np.searchsorted(ended, at, side="left")], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Curve:
    """Share without the event after each time at which somebody leaves, Kaplan and Meier (1958)."""

    time: Floats
    """Distinct times, ascending (time,)."""
    share: Floats
    """Without the event after it (time,)."""
    low: Floats
    """Of the pointwise 95 % interval on the log-log scale (Greenwood's variance); NaN where there is none."""
    high: Floats
    n: int
    """Participants."""

    def at(self, time: float) -> float:
        """Share without the event after this time."""
        return float(np.concatenate([[1.0], self.share])[np.searchsorted(self.time, time, side="right")])

    def median(self) -> float | None:
        """The first time after which at most half are without the event; None where there is none."""
        below = np.flatnonzero(self.share <= 0.5)
        return float(self.time[below[0]]) if len(below) else None


def kaplan_meier(signed: Floats) -> Curve:
    """The curve of these participants, at least one."""
    from scipy.stats import ecdf

    if not events_of(signed).any():  # scipy has no curve of none
        time = np.unique(times_of(signed))
        nothing = np.full(len(time), np.nan)
        return Curve(time, np.ones(len(time)), nothing, nothing, len(signed))
    found = ecdf(_censored(signed)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where the curve is 1 or 0, there is no interval
        interval = found.confidence_interval(method="log-log")
    low, high = interval.low.probabilities, interval.high.probabilities
    return Curve(found.quantiles, found.probabilities, low, high, len(signed))


def at_risk(signed: Floats, times: Floats) -> list[int]:
    """How many have had no event and are still observed just before each time (time,)."""
    own = times_of(signed)
    return [int((own >= time).sum()) for time in times]


def martingale_residuals(signed: Floats) -> Floats:
    """Events less those expected up to the own time where all have one hazard (row,); they add up to 0.

    Expected is Nelson and Aalen's cumulative hazard. The sum of residuals times a risk is Cox's score of it.
    """
    time, event = times_of(signed), events_of(signed)
    had, number = np.unique(time[event == 1], return_counts=True)
    hazard = np.concatenate([[0.0], np.cumsum(number / np.asarray(at_risk(signed, had)))])
    return np.asarray(event - hazard[np.searchsorted(had, time, side="right")], dtype=np.float64)


def log_rank(one: Floats, other: Floats) -> float:
    """Two-sided p of the log-rank test between two groups; NaN where a group or every event is missing."""
    from scipy.stats import logrank

    if not len(one) or not len(other) or not events_of(np.concatenate([one, other])).any():
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(logrank(_censored(one), _censored(other)).pvalue)


def _censored(signed: Floats) -> Any:
    from scipy.stats import CensoredData

    event, time = events_of(signed) == 1, times_of(signed)
    return CensoredData(uncensored=time[event], right=time[~event])


def risk_groups(signed: Floats, risk: Floats) -> dict[str, Any]:
    """Participants above and below a risk of 0, the median of training: their events and the log-rank test.

    Risks out of fold are of models that were trained on each other's test participants, so the p is a
    description and no test of the head (`docs/statistics.md`); of a fixed model on others it is one.

    Args:
        signed: Signed times (participant,).
        risk: (participant,)

    Returns:
        `high` and `low`, each with `n`, `events` and `median_time` (None where more than half had none), and
        `log_rank_p` (None where it is not defined).
    """
    parts = {"high": signed[risk > 0], "low": signed[risk <= 0]}
    p = log_rank(parts["high"], parts["low"])
    return {name: _group(own) for name, own in parts.items()} | {"log_rank_p": p if np.isfinite(p) else None}


def _group(signed: Floats) -> dict[str, Any]:
    median = kaplan_meier(signed).median() if len(signed) else None
    return {"n": len(signed), "events": int(events_of(signed).sum()), "median_time": median}
