"""Where sex, site and age are matched between the classes, cross-validation finds nothing below 0.5."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from aggregate.training.solving.logistic import solve

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
try:
    import matched_designs
    from matched_designs import divide, look, recruit, summarise
finally:
    sys.path.remove(str(Path(__file__).resolve().parents[2] / "benchmarks"))

N = 200


@cache
def rates(design, dealt):
    return summarise([look(design, 40, dealt, 9000 + seed) for seed in range(N)])


def highest(rate, of=N):
    """The 99.9 % point of so many cohorts."""
    return stats.binom.ppf(0.999, of, rate) / of


def test_the_classifier_is_the_baselines():
    people = recruit("sex", 40, np.random.default_rng(0))
    division = divide(people, "label", 0)
    x = np.concatenate([np.eye(2)[people.sex], people.age[:, None]], axis=1)
    ours = matched_designs.logistic(x, people.y, division.outside)
    for fit in (0, 17, 49):
        train, test = division.outside[fit], ~division.outside[fit]
        found = solve(x[train], people.y[train], np.ones(train.sum()), 2, 1.0)
        log_p = found.log_probabilities(x[test])
        assert ours[fit, test] == pytest.approx(log_p[:, 1] - log_p[:, 0], abs=2e-3)


def test_folds_dealt_by_what_is_matched_hold_the_level():
    by_label, ours = (rates("sex and site", dealt) for dealt in ("label", "matched"))
    assert by_label["auroc confounds"] < 0.4
    assert abs(ours["auroc confounds"] - 0.5) < 0.03
    assert sum(by_label["confounds, interval and 0.5"]) > 0.25
    for name in ("confounds, interval and 0.5", "noise, interval and 0.5", "traces, interval and 0.5"):
        assert sum(ours[name]) <= highest(0.05), name


def test_no_head_is_better_for_a_baseline_below_guessing():
    found = rates("sex and site", "label")
    assert found["noise and confounds, plain"][1] > 0.12
    for head in ("noise", "traces"):
        assert sum(found[f"{head} and confounds, ours"]) <= highest(0.05)


def test_what_is_not_matched_is_not_made_to_look_like_a_finding():
    found = rates("unmatched", "matched")
    for name, rejected in found.items():
        assert name.startswith("auroc") or sum(rejected) <= highest(0.05), name
