"""Two fixed models outside their training: no difference rests on a value below guessing."""

from functools import partial

import numpy as np
import pytest

from aggregate.common.arrays import Floats
from aggregate.evaluate import outside
from aggregate.evaluate.measure import Judged
from aggregate.evaluate.outside import compare_outside
from aggregate.evaluate.terminal import evaluation_summary
from aggregate.statistics.bootstrap import bootstrap_difference
from aggregate.statistics.delong import delong_test
from aggregate.statistics.metrics import Scores, auroc
from aggregate.targets.classification import Classification
from aggregate.targets.ordinal import Ordinal

Y = np.arange(60) % 2
NAMES = ("head", "confounds_only")
DRAWN = np.random.Generator(np.random.PCG64(7)).normal(size=(2, 60))
GOOD, BAD = Y + DRAWN[0], -1.5 * Y + DRAWN[1]
MEDIOCRE = 0.3 * Y + DRAWN[0]


def judged(score: Floats) -> Judged:
    return Judged(Scores((), Y, np.stack([-score / 2, score / 2], axis=1)))


def told(ours: Floats, other: Floats) -> dict[str, object]:
    found = compare_outside(Classification(("control", "patient")), judged(ours), judged(other), NAMES)
    assert found is not None
    return found


def test_above_guessing_it_is_delong() -> None:
    found, right = told(GOOD, MEDIOCRE), delong_test(Y, GOOD, MEDIOCRE)
    assert found["as_guessing"] == []
    assert (found["difference"], found["p"]) == pytest.approx((right.difference, right.p))
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((right.low, right.high))


def test_a_bar_below_guessing_makes_nobody_better() -> None:
    assert auroc(Y, BAD) < 0.2 < 0.5 < auroc(Y, MEDIOCRE) < 0.7
    assert delong_test(Y, MEDIOCRE, BAD).p < 1e-6
    found = told(MEDIOCRE, BAD)
    # What is left is MEDIOCRE against guessing, which does not vary.
    right = delong_test(Y, MEDIOCRE, np.zeros(60))
    assert found["as_guessing"] == ["confounds_only"]
    assert found["difference"] == pytest.approx(auroc(Y, MEDIOCRE) - 0.5)
    assert found["p"] == pytest.approx(right.p)
    assert right.p > 0.05
    assert found["ci_low"] < 0 < found["ci_high"]


def test_counting_as_guessing_makes_no_test_surer() -> None:
    # A little backwards by chance: against what does not vary the other would be surer than it is.
    low = -0.1 * Y + DRAWN[1]
    assert 0.3 < auroc(Y, low) < 0.5 < auroc(Y, GOOD)
    found, measured = told(GOOD, low), delong_test(Y, GOOD, low)
    counted = delong_test(Y, GOOD, np.zeros(60))
    assert counted.p < measured.p / 10
    assert found["p"] == pytest.approx(measured.p)
    assert found["difference"] == pytest.approx(counted.difference)
    shrunk = counted.difference / measured.difference
    assert found["ci_low"] == pytest.approx(shrunk * measured.low)


def test_two_below_guessing_cannot_be_compared() -> None:
    found = told(BAD, 0.5 * BAD - Y)
    assert found == {
        "difference": 0.0, "ci_low": None, "ci_high": None, "p": None, "as_guessing": list(NAMES),
    }  # fmt: skip


def test_ordered_classes_are_held_to_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "bootstrap_difference", partial(bootstrap_difference, n=200))
    y = np.arange(60) % 3
    right = np.stack([-y, np.zeros(60), y], axis=1) * 0.2
    kind, noise = Ordinal(("a", "b", "c")), DRAWN[0][:, None] * [-1, 0, 1]
    ours, other = (Judged(Scores((), y, sign * right + noise)) for sign in (1, -3))
    found = compare_outside(kind, ours, other, NAMES)
    assert found is not None
    assert found["as_guessing"] == ["confounds_only"]
    measured = kind.measure(y, ours.scores.logits)["ordinal_c_index"]
    assert found["difference"] == pytest.approx(measured - 0.5)
    silent = compare_outside(kind, ours, Judged(Scores((), y, np.zeros((60, 3)))), NAMES)
    assert silent is not None
    assert found["p"] == silent["p"] > 0.001


@pytest.mark.parametrize(
    ("ours", "other", "said"),
    [
        (MEDIOCRE, BAD, "head is not shown to differ from confounds_only, which counts as 0.5: AUROC +"),
        (BAD, BAD, "head and confounds_only cannot be compared: neither is better than guessing"),
    ],
)
def test_the_terminal_says_so(ours: Floats, other: Floats, said: str) -> None:
    row = {"auroc": {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6}}
    metrics = {
        "task": "binary", "target": "dx", "classes": ["control", "patient"], "configuration": "head",
        "n_participants": 60, "n_per_class": {"control": 30, "patient": 30}, "metrics": row,
        "baselines": {"confounds_only": row}, "comparison": {"confounds_only": told(ours, other)},
        "warnings": [], "threshold": 0.5, "familiarity": None, "in_training": None,
    }  # fmt: skip
    assert said in evaluation_summary(metrics, "")
