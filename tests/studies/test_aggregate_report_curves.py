"""The numbers behind the report's figures, against slow forms."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

pytest.importorskip("matplotlib")

from aggregate.report.figures.curves import GRID, on_grid, profiles, roc_of

LOOKS_AT_FIGURES = True


def rows(n: int, folds: int, repeats: int, bags: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    made = [
        {
            "configuration": "attention",
            "repeat": repeat,
            "fold": i % folds,
            "seed": 0,
            "participant_id": f"sub-{i}",
            "y": "ab"[i // folds % 2],
            "logit_a": rng.normal(),
            "logit_b": rng.normal() + (i // folds % 2),
        }
        for repeat in range(repeats)
        for i in range(n)
        for _ in range(bags)
    ]
    return pd.DataFrame(made)


def test_the_area_under_the_mean_curve_is_the_mean_auroc_within_folds() -> None:
    frame = rows(97, 5, 3, bags=2)
    areas = []
    for _, fold in frame.groupby(["repeat", "fold"]):
        by_person = fold.assign(s=fold["logit_b"] - fold["logit_a"]).groupby("participant_id")
        areas.append(roc_auc_score(by_person["y"].first() == "b", by_person["s"].mean()))
    curve = roc_of(frame, "b", ("a",))
    assert curve is not None
    assert curve.repeats.shape == (3, len(GRID))
    assert np.trapezoid(curve.mean, GRID) == pytest.approx(np.mean(areas), abs=0.005)


def test_a_curve_ends_in_the_corner_and_never_falls() -> None:
    truth = np.array([True, False, True, False, False])
    # The worst case scores lowest, so the last step is at a false positive rate of 1.
    values = on_grid(truth, np.array([5.0, 4.0, 1.0, 3.0, 2.0]))
    assert values[-1] == 1
    assert np.all(np.diff(values) >= 0)
    assert values[50] == pytest.approx(0.5)


def test_ties_give_a_diagonal() -> None:
    assert np.allclose(on_grid(np.array([True, False, True, False]), np.zeros(4)), GRID, atol=1e-6)


def test_folds_without_both_sides_are_passed_over() -> None:
    frame = rows(24, 4, 1)
    assert roc_of(frame[frame["y"] == "a"], "b", ("a",)) is None
    one_sided = frame[(frame["fold"] != 0) | (frame["y"] == "a")]
    expected = roc_of(frame[frame["fold"] != 0], "b", ("a",))
    found = roc_of(one_sided, "b", ("a",))
    assert found is not None
    assert expected is not None
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=1e-12)


def test_profiles_count_a_participant_once_per_bin() -> None:
    frame = pd.DataFrame(
        {
            "height_mm": [0.0, 0.5, 1.0, 0.2, 41.0, 41.0, 3.0],
            "attention": [1.0, 2.0, 3.0, 8.0, 5.0, 7.0, 11.0],
            "label": ["a", "a", "a", "a", "a", "a", "b"],
            "participant_id": ["p", "p", "p", "q", "p", "q", "r"],
        }
    )
    found = profiles(frame)
    assert found["a"].mean.tolist() == [(2.0 + 8.0) / 2, 6.0]
    assert found["a"].height_mm.tolist() == [2.0, 42.0]
    assert found["a"].low[0] == pytest.approx(2.6)
    assert found["a"].high[0] == pytest.approx(7.4)
    assert found["b"].mean.tolist() == [11.0]


def test_bins_that_few_participants_reach_are_left_out() -> None:
    heights = [(f"p{i}", float(height)) for i in range(8) for height in (1, 9)] + [("p0", 100.0)]
    frame = pd.DataFrame(heights, columns=["participant_id", "height_mm"]).assign(label="a", attention=1.0)
    assert profiles(frame)["a"].height_mm.max() < 20
    assert profiles(frame.iloc[:0]) == {}
