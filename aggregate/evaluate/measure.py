"""A fixed model on participants outside all its training: every measure with the interval that suits it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from aggregate.common.arrays import Floats, Ints
from aggregate.common.softmax import softmax
from aggregate.statistics.bootstrap import bootstrap_intervals, one_by_one
from aggregate.statistics.classes.reliability import classwise_error, error_if_calibrated
from aggregate.statistics.corrected import Interval
from aggregate.statistics.delong import delong_interval, delong_test
from aggregate.statistics.draws import binary_metrics_of_draws
from aggregate.statistics.metrics import Scores, auroc, measure
from aggregate.statistics.recalibration import recalibrate
from cache_schema.common.errors import SlicecacheError

METHODS = (
    "of a fixed model, over participants outside its training, level 0.95: DeLong for AUROC, Wilson for "
    "sensitivity and specificity, Wald for calibration slope and intercept, none for ECE (beside it what a "
    "calibrated model would have), percentile bootstrap over participants, stratified by label, for the rest"
)
SEVERAL = (
    "of a fixed model, over participants outside its training, level 0.95: percentile bootstrap over "
    "participants, stratified by label; of single classes and pairs DeLong for AUROC, Wilson for shares, "
    "Wald for calibration slope and intercept"
)
"""`ci_method` of two classes, and of more."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's calibrated scores and its frozen threshold."""

    scores: Scores
    """Logits over their temperature: their softmax is the probability."""
    threshold: float = 0.5
    """On the probability of the last of two classes."""

    @property
    def binary(self) -> bool:
        """Whether there are two classes."""
        return self.scores.logits.shape[1] == 2

    @property
    def logit(self) -> Floats:
        """Of the positive class's probability (participant,)."""
        return np.asarray(self.scores.logits[:, 1] - self.scores.logits[:, 0])

    @property
    def positive(self) -> Floats:
        """Probability of the positive class (participant,)."""
        return self.scores.probability()[:, 1]


def external_metrics(judged: Judged) -> dict[str, Interval]:
    """All metrics of the tables, with intervals; NaN limits where there is no way to give them."""

    def metrics(scores: Scores) -> Mapping[str, float]:
        return measure(scores, judged.threshold)

    def of_draws(y: Ints, logits: Floats) -> Mapping[str, Floats]:
        return binary_metrics_of_draws(y, softmax(logits)[..., 1], judged.threshold)

    p = judged.scores.probability()
    error = float(classwise_error(judged.scores.y, p).mean())
    found = bootstrap_intervals(judged.scores, of_draws if judged.binary else one_by_one(metrics))
    found |= {"ece": Interval(error, np.nan, np.nan), "ece_if_calibrated": error_if_calibrated(p)}
    if not judged.binary:
        return found
    y, called = judged.scores.y, judged.positive >= judged.threshold
    recalibrated = recalibrate(y, judged.logit)
    return {
        **found,
        "auroc": delong_or_none(y, judged.logit),
        "sensitivity": wilson(int(called[y == 1].sum()), int((y == 1).sum())),
        "specificity": wilson(int((~called)[y == 0].sum()), int((y == 0).sum())),
        "calibration_slope": recalibrated.slope,
        "calibration_intercept": recalibrated.intercept,
    }


def delong_or_none(y: Ints, score: Floats) -> Interval:
    """DeLong's interval; without limits where one class is too small, or nothing overlaps."""
    try:
        found = delong_interval(y, score)
    except SlicecacheError:
        return Interval(auroc(y, score), np.nan, np.nan)
    # Separated classes leave DeLong no spread: an interval of width 0 would claim what 5 participants cannot.
    return found if found.high > found.low else Interval(found.value, np.nan, np.nan)


def wilson(hits: int, n: int) -> Interval:
    """A share with Wilson's interval, which has a width at 0 and 1, too."""
    if not n:
        return Interval(np.nan, np.nan, np.nan)
    limits = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    return Interval(hits / n, float(limits.low), float(limits.high))


def compare_fixed(ours: Judged, other: Judged) -> dict[str, float] | None:
    """DeLong's paired test of two models on the same participants; None where it is not defined."""
    if not ours.binary:
        return None
    try:
        found = delong_test(ours.scores.y, ours.logit, other.logit)
    except SlicecacheError:
        return None
    return {"difference": found.difference, "ci_low": found.low, "ci_high": found.high, "p": found.p}
