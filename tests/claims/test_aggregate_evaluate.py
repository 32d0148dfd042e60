"""The honest table against slow references: within-fold metrics, seeds first, paired comparisons."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold
from aggregate.cohort.turnout import Turnout
from aggregate.statistics.bootstrap import BOOTSTRAP
from aggregate.statistics.calibration import Calibration
from aggregate.statistics.cautions import below_guessing_notes, cannot_compare, few_folds
from aggregate.statistics.corrected import CORRECTED, SHARED_PAIRS, corrected_t_test
from aggregate.statistics.evaluate import (
    Measured,
    OutOfFold,
    ci_method,
    compare,
    intervals,
    measure_folds,
    pooled_auroc,
)
from aggregate.targets.classification import Classification
from aggregate.train.predictions import prediction_rows

pytestmark = pytest.mark.numerics

N, FOLDS, REPEATS = 37, 4, 3


@pytest.fixture
def cohort() -> Cohort:
    """37 participants, three of them with two bags."""
    people = [f"p{i:02d}" for i in range(N)] + ["p01", "p05", "p11"]
    y = [int(name[1:]) % 3 == 0 for name in people]
    frame = pd.DataFrame(
        {"participant_id": people, "session_id": "", "volume_id": "T1w", "y": np.array(y, dtype=np.int64)}
    ).assign(weight=1.0)
    return Cohort(
        kind=Classification(("no", "yes")),
        values=frame["y"].to_numpy(dtype=np.float64)[:, None],
        frame=frame,
        entries=(),
        classes=("no", "yes"),
        turnout=Turnout(),
        bag=np.arange(len(people)),
        records=(),
        table=frame,
        acquisition=frame,
        target="t",
    )


def outputs(cohort: Cohort, name: str, noise: float, seeds: int = 2) -> list[OutOfFold]:
    """Out-of-fold logits that know the label a little."""
    rng = np.random.default_rng([len(name), int(noise * 10)])
    people = cohort.participants
    found = []
    for repeat in range(REPEATS):
        order = rng.permutation(N)
        order = order[np.argsort(order % 3 == 0, kind="stable")]  # label after label, so no fold lacks one
        hand = {f"p{person:02d}": place % FOLDS for place, person in enumerate(order)}
        side = np.array([hand[p] for p in people])
        for fold in range(FOLDS):
            test, train = np.flatnonzero(side == fold), np.flatnonzero(side != fold)
            given = Fold(repeat, fold, train, train[:0], test)
            for seed in range(seeds):
                score = cohort.y[test] + noise * rng.normal(size=len(test))
                logits = np.stack([np.zeros(len(test)), score], axis=1)
                found.append(OutOfFold(name, given, seed, logits, Calibration(0.6, 2.0)))
    return found


def slow_auroc(cohort: Cohort, output: OutOfFold) -> float:
    """Mean logit per participant, then scikit-learn."""
    frame = pd.DataFrame(
        {
            "p": cohort.participants[output.fold.test],
            "s": output.logits[:, 1] - output.logits[:, 0],
            "y": cohort.y[output.fold.test],
        }
    )
    people = frame.groupby("p").mean()
    return float(roc_auc_score(people["y"], people["s"]))


def slow_mean_over_seeds(cohort: Cohort, found: list[OutOfFold]) -> np.ndarray:
    values: dict[tuple[int, int], list[float]] = {}
    for output in found:
        values.setdefault((output.fold.repeat, output.fold.fold), []).append(slow_auroc(cohort, output))
    return np.array([np.mean(v) for v in values.values()])


def test_auroc_is_the_mean_within_folds_with_the_corrected_interval(cohort: Cohort) -> None:
    found = outputs(cohort, "head", 1.0)
    measured = measure_folds(cohort, found)
    values = slow_mean_over_seeds(cohort, found)
    np.testing.assert_allclose(measured.values["auroc"], values, atol=1e-12)
    assert len(values) == FOLDS * REPEATS
    interval = intervals(cohort, found, measured)["auroc"]
    sizes = [len(np.unique(cohort.participants[o.fold.test])) for o in found[::2]]
    # Shares of pairs that two folds both separate: within a repeat, and between repeats.
    q = np.mean(sizes / (sizes + measured.n_train))
    within, between = (1 / q - 1) * q / (1 - q), (len(values) - 1 / q) * 2 * q * (1 - q)
    c = (within + between) / (len(values) - 1)
    ratio = c / (1 - c)
    half = stats.t.ppf(0.975, len(values) - 1) * np.sqrt((1 / len(values) + ratio) * np.var(values, ddof=1))
    assert interval.value == pytest.approx(values.mean(), abs=1e-12)
    assert interval.low == pytest.approx(values.mean() - half, abs=1e-12)
    assert ci_method(measured) == CORRECTED


def test_comparison_is_paired(cohort: Cohort) -> None:
    good, bad = outputs(cohort, "head", 0.3), outputs(cohort, "head", 3.0)
    result = compare(measure_folds(cohort, good), measure_folds(cohort, bad))
    assert result is not None
    difference = slow_mean_over_seeds(cohort, good) - slow_mean_over_seeds(cohort, bad)
    assert result["difference"] == pytest.approx(difference.mean(), abs=1e-12)
    assert result["p"] < 0.05
    same = compare(measure_folds(cohort, good), measure_folds(cohort, good))
    assert same == {"difference": 0.0, "ci_low": None, "ci_high": None, "p": None, "as_guessing": []}
    assert cannot_compare("a", "b", same) == (
        "a and b cannot be compared: they differ by +0.000 in every fold, and without spread nothing can be "
        "said"
    )


def of_folds(name: str, *values: float) -> Measured:
    """A configuration of 30 participants with these AUROC."""
    array = np.array(values)
    return Measured(name, {"auroc": array}, np.full(len(array), 20.0), np.full(len(array), 10.0))


def test_no_difference_rests_on_a_value_below_guessing() -> None:
    head, low = of_folds("head", 0.6, 0.5, 0.55, np.nan), of_folds("confounds_only", 0.1, 0.3, 0.2, 0.3)
    found, turned = compare(head, low), compare(low, head)
    assert found is not None
    assert turned is not None
    assert found["difference"] == -turned["difference"] == pytest.approx(0.05)
    assert found["p"] == turned["p"]
    assert found["as_guessing"] == ["confounds_only"]
    # Of the two comparisons the larger p: as measured here, since 0.5 does not vary and these jump.
    steady, jumping = of_folds("a", 0.70, 0.71, 0.72), of_folds("b", 0.1, 0.9, 0.4)
    assert (compare(steady, of_folds("", *[0.5] * 3)) or {})["p"] < 0.01
    plain = corrected_t_test([0.60, -0.19, 0.32], 20, 10, overlap=SHARED_PAIRS)
    weaker = compare(steady, jumping)
    assert weaker is not None
    assert weaker["p"] == pytest.approx(plain.p)
    assert weaker["difference"] == pytest.approx(0.21)
    assert weaker["ci_low"] == pytest.approx(max(plain.low * 0.21 / plain.difference, -1))
    # And against 0.5 here, where only the head varies.
    wild, beside = of_folds("a", 0.5, 0.9, 0.7), of_folds("b", 0.0, 0.4, 0.2001)
    against = corrected_t_test([0.0, 0.4, 0.2], 20, 10, overlap=SHARED_PAIRS)
    found = compare(wild, beside)
    assert found is not None
    assert (found["p"], found["ci_low"]) == pytest.approx((against.p, against.low))
    both = compare(low, of_folds("head", 0.4, 0.3, 0.5, 0.45))
    assert both is not None
    assert (both["difference"], both["p"]) == (0.0, None)
    assert "neither is better than guessing" in cannot_compare("a", "b", both)
    assert "confounds_only (0.23)" in below_guessing_notes([head, low])[0]
    assert below_guessing_notes([head]) == []


def test_a_difference_stays_within_what_is_possible() -> None:
    found = compare(of_folds("a", 0.5, 1.0), of_folds("b", 0.9, 0.5))
    assert found is not None
    assert (found["ci_low"], found["ci_high"]) == (-1.0, 1.0)


def test_rounding_is_no_spread() -> None:
    found = compare(of_folds("a", 0.9, 0.8, 0.7), of_folds("b", 0.8, 0.7, 0.6))
    assert found is not None
    assert found["p"] is None
    assert "differ by +0.100 in every fold" in cannot_compare("a", "b", found)
    assert "too few folds" in cannot_compare("a", "b", compare(of_folds("a", 0.9), of_folds("b", 0.8)))


def test_very_few_folds_are_said() -> None:
    assert (
        "2 folds define an AUROC: intervals and p values have 1 degree "
        in few_folds(of_folds("a", 0.6, 0.7))[0]
    )
    assert "3 degrees of freedom" in few_folds(of_folds("a", 0.6, 0.7, 0.8, 0.5, np.nan))[0]
    assert few_folds(of_folds("a", 0.6, 0.7, 0.8, 0.5, 0.6)) == []


def test_a_given_split_is_resampled_and_not_compared_by_folds(cohort: Cohort) -> None:
    single = outputs(cohort, "head", 1.0, seeds=1)[:1]
    measured = measure_folds(cohort, single)
    interval = intervals(cohort, single, measured)["auroc"]
    assert ci_method(measured) == BOOTSTRAP
    assert interval.low <= interval.value <= interval.high
    assert interval.low < interval.high
    assert compare(measured, measured) is None


def test_pooled_auroc_mixes_folds(cohort: Cohort) -> None:
    found = outputs(cohort, "head", 0.4, seeds=1)
    shifted = [
        OutOfFold(o.configuration, o.fold, o.seed, o.logits + np.array([[0, 5 * o.fold.fold]]), o.calibration)
        for o in found
    ]
    within = measure_folds(cohort, shifted).values["auroc"].mean()
    np.testing.assert_allclose(within, measure_folds(cohort, found).values["auroc"].mean())
    assert pooled_auroc(cohort, shifted) < within - 0.1


def test_prediction_rows_follow_the_design(cohort: Cohort) -> None:
    output = outputs(cohort, "head", 1.0)[3]
    rows = prediction_rows(cohort, [output], "out_of_fold")
    assert list(rows.columns) == [
        *("volume_id", "participant_id", "session_id", "set", "configuration", "repeat", "fold", "seed", "y"),
        *("logit_no", "logit_yes", "p_no", "p_yes", "threshold"),
    ]
    difference = output.logits[:, 1] - output.logits[:, 0]
    np.testing.assert_allclose(rows["p_yes"], 1 / (1 + np.exp(-difference / 2.0)), atol=1e-12)
    assert rows["y"].tolist() == [cohort.classes[c] for c in cohort.y[output.fold.test]]
