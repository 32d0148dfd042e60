"""More than the confounds: found where it is, at the level where the head only reads them."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aggregate.shortcuts.adjusted import beyond, covariates_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
try:
    from adjusted import look
finally:
    sys.path.remove(str(Path(__file__).resolve().parents[2] / "benchmarks"))

OURS = "beyond the confounds (ours)"


def rates(design, traces, signal, n=60, cohorts=60):
    looks = [look(design, traces, signal, n, 2, 7000 + seed) for seed in range(cohorts)]
    return {name: np.mean([one[name] == 1 for one in looks]) for name in looks[0]}


@pytest.mark.parametrize("design", ["unconfounded", "confounded", "confounded by age squared"])
def test_reading_the_confounds_is_not_knowing_more(design):
    assert rates(design, "strong", 0.0)[OURS] <= stats.binom.ppf(0.999, 60, 0.05) / 60


def test_what_is_beyond_is_found_where_a_difference_says_nothing():
    found = rates("confounded", "strong", 1.8, n=100, cohorts=40)
    assert found[OURS] > 0.5
    assert found["difference of AUROC"] < 0.3


def test_residuals_have_nothing_of_the_confounds_and_parts_keep_their_places():
    stream = np.random.default_rng(0)
    covariates = covariates_of(pd.DataFrame({"age": stream.normal(size=20), "sex": ["F", "M"] * 10}))
    assert covariates.shape == (20, 4)
    rows = np.split(stream.permutation(20), [6, 13])
    parts = [(own, 3 * covariates[own, :1] + stream.normal(size=(len(own), 1))) for own in rows]
    found = beyond(parts, covariates)
    assert [len(rest) for rest in found] == [6, 7, 7]
    together, order = np.concatenate(found)[:, 0], np.concatenate(rows)
    assert covariates[order].T @ together == pytest.approx(0, abs=1e-9)
    flat = beyond([(own, np.ones((len(own), 1))) for own in rows], covariates)  # a head that says one thing
    assert np.concatenate(flat) == pytest.approx(0, abs=1e-9)
