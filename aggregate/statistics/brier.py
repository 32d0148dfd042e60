"""How right probabilities of having had no event yet are: the Brier score over time, and its mean.

A risk alone puts people in an order. With the baseline hazard of the training part (Breslow 1974) it says
how likely each is to be without the event at a time, and the Brier score (Graf and others 1999) holds that
against what became of them: the squared error, where who is still observed stands for who no longer is.
"""

import numpy as np
from scipy.integrate import trapezoid

from aggregate.common.arrays import Floats
from aggregate.common.signed_times import events_of, times_of
from aggregate.statistics.survival import still_observed

STEPS = 20
"""Of the times that a score is a mean over."""
UNTIL = 0.8
"""Share of the cohort's times up to which it is: behind it hardly anybody is left to judge by."""


def score_times(signed: Floats) -> Floats:
    """Times that scores of a cohort are taken at, from 0 on (time,)."""
    return np.linspace(0.0, float(np.quantile(times_of(signed), UNTIL)), STEPS + 1)


def baseline_hazard(signed: Floats, risk: Floats, weight: Floats, times: Floats) -> Floats:
    """Breslow's cumulative hazard of a risk of 0 at some times (time,).

    Args:
        signed: Signed times of the training part (row,).
        risk: Log hazard ratios (row,).
        weight: Of every row (row,).
        times: Ascending (time,).
    """
    own, event = times_of(signed), events_of(signed) == 1
    when, place = np.unique(own[event], return_inverse=True)
    number = np.bincount(place, weights=weight[event], minlength=len(when))
    top = risk.max()
    hazard = weight * np.exp(risk - top)  # risks may be large, so their exponents are taken off one another
    order = np.argsort(own)
    left = np.concatenate([hazard[order][::-1].cumsum()[::-1], [0.0]])
    at_risk = left[np.searchsorted(own[order], when, side="left")]
    steps = np.concatenate([[0.0], np.cumsum(number / at_risk)])
    return np.asarray(steps[np.searchsorted(when, times, side="right")] * np.exp(-top), dtype=np.float64)


def without_event(risk: Floats, hazard: Floats) -> Floats:
    """How likely everybody is to be without the event at each time (row, time).

    Args:
        risk: (row,)
        hazard: Cumulative, of a risk of 0 (time,).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(hazard > 0, np.exp(-hazard * np.exp(risk)[:, None]), 1.0)


def brier_scores(signed: Floats, share: Floats, times: Floats) -> Floats:
    """Brier scores (time,); NaN at and behind the last time of these participants.

    Whoever had the event by then weighs `1 / G` just before it, whoever is still without it and observed
    `1 / G` at the time itself, with G the share of these participants whose observation has not ended.

    Args:
        signed: Signed times (participant,).
        share: How likely each is without the event (participant, time).
        times: (time,)
    """
    own, event = times_of(signed), events_of(signed) == 1
    then = still_observed(signed, own)
    now = still_observed(signed, np.nextafter(times, np.inf))
    had = (own[:, None] <= times) & event[:, None]
    weights = np.divide(1.0, then, out=np.zeros_like(then), where=then > 0)
    gone = (had * weights[:, None] * share**2).mean(axis=0)
    stay = ((own[:, None] > times) * (1 - share) ** 2).mean(axis=0)
    known = times < own.max()
    return np.where(known, gone + np.divide(stay, now, out=np.zeros_like(stay), where=known), np.nan)


def integrated_brier(signed: Floats, share: Floats, times: Floats) -> float:
    """Their mean over time, as far as they are defined; NaN of fewer than two times.

    0.25 is what a half for everybody has, and less is better; arguments as of `brier_scores`.
    """
    scores = brier_scores(signed, share, times)
    known = ~np.isnan(scores)
    if known.sum() < 2:
        return float("nan")
    return float(trapezoid(scores[known], times[known]) / np.ptp(times[known]))
