"""The section on scores: every figure's numbers against a slow form, odd sizes, and what cannot be drawn."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from aggregate.common.artefacts import csv_text
from aggregate.report.figures.curves import GRID, roc_of
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.folds import fold_curves
from aggregate.report.figures.redraw import read_back, redrawn
from aggregate.report.figures.scores.calibration import calibration_table, share_interval
from aggregate.report.figures.scores.decision import decision_table
from aggregate.report.figures.scores.distribution import distribution, score_table, stacked
from aggregate.report.figures.scores.precision_recall import precision_of, precision_on_grid
from aggregate.report.figures.scores.roc import roc
from aggregate.report.figures.scores.said import n_rounds, people_of, said_of
from aggregate.report.pages.scored import drawings_of, number_errors, scored_content
from aggregate.report.text.worst import worst_calls
from aggregate.statistics.bands import fold_band
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_interval

LOOKS_AT_FIGURES = True

TWO, THREE = ("control", "patient"), ("a", "b", "c")


def rows(
    counts: tuple[int, ...],
    classes: tuple[str, ...] = TWO,
    repeats: int = 2,
    folds: int = 3,
    sessions: int = 1,
    names: tuple[str, ...] = ("attention", "mean_pool_logistic"),
) -> pd.DataFrame:
    """Made-up predictions of people who are tested once per repeat."""
    rng = np.random.default_rng(sum(counts))
    labels = [name for name, n in zip(classes, counts, strict=True) for _ in range(n)]
    made = []
    for configuration, repeat, (i, label), visit in itertools.product(
        names, range(repeats), enumerate(labels), range(sessions)
    ):
        logits = rng.normal(size=len(classes))
        logits[classes.index(label)] += 1
        p = np.exp(logits) / np.exp(logits).sum()
        made.append(
            {
                "volume_id": "T1w",
                "participant_id": f"sub-{i:02d}",
                "session_id": str(visit),
                "set": "out_of_fold",
                "configuration": configuration,
                "repeat": repeat,
                "fold": i % folds,
                "seed": 0,
                "y": label,
                **{f"logit_{name}": value for name, value in zip(classes, logits, strict=True)},
                **{f"p_{name}": value for name, value in zip(classes, p, strict=True)},
                "threshold": 0.4 + 0.05 * (i % folds),
            }
        )
    return pd.DataFrame(made)


def told(frame: pd.DataFrame, classes: tuple[str, ...] = TWO) -> pd.DataFrame:
    found = said_of(frame, "attention", classes)
    assert found is not None
    return found


def test_what_is_said_is_the_mean_logit_over_sessions_and_then_the_mean_over_rounds() -> None:
    frame = rows((7, 4), repeats=3, sessions=2)
    people = people_of(told(frame), TWO).set_index("participant_id")
    own = frame[frame["configuration"] == "attention"]
    for name, mine in own.groupby("participant_id"):
        each, wrong = [], 0
        for _, visits in mine.groupby("repeat"):
            gap = (visits["logit_patient"] - visits["logit_control"]).mean()
            each.append(1 / (1 + np.exp(-gap)))
            wrong += (each[-1] >= visits["threshold"].iloc[0]) != (visits["y"].iloc[0] == "patient")
        assert people.loc[name, "p_patient"] == pytest.approx(np.mean(each))
        assert (people.loc[name, "wrong"], people.loc[name, "rounds"]) == (wrong, 3)
    assert n_rounds(told(frame)) == 3


def test_the_area_under_precision_is_the_mean_average_precision_within_folds() -> None:
    frame = rows((31, 22), repeats=2, folds=4)
    said = told(frame)
    areas = [
        average_precision_score(fold["label"] == "patient", fold["p_patient"])
        for _, fold in said.groupby(["repeat", "fold"])
    ]
    found = precision_of(said, "patient", banded=True)
    assert found is not None
    assert found.mean[1:].mean() == pytest.approx(np.mean(areas), abs=0.01)
    assert found.band is not None
    assert np.all(found.band.low[1:] <= found.mean[1:] + 1e-12)


def test_precision_at_a_recall_by_a_slow_loop() -> None:
    rng = np.random.default_rng(3)
    truth, score = (rng.random(29) < 0.4).astype(float), rng.integers(0, 9, 29) / 9  # with ties
    values = precision_on_grid(truth, score)
    for recall, value in zip(GRID[1:], values[1:], strict=True):
        for level in sorted(set(score), reverse=True):
            called = score >= level
            if truth[called].sum() / truth.sum() >= recall - 1e-9:
                assert value == pytest.approx(truth[called].mean())
                break


def test_a_band_is_the_corrected_interval_at_every_point() -> None:
    frame = rows((20, 17), repeats=2, folds=3)
    said = told(frame)
    cases = said.assign(truth=said["label"] == "patient", score=said["p_patient"])
    found = fold_curves(cases, precision_on_grid)
    assert found is not None
    assert (found.n_train + found.n_test == 37).all()
    band = fold_band(found.curves, found.n_train, found.n_test)
    for point in (1, 77, 200):
        one = corrected_interval(
            found.curves[:, point], found.n_train, found.n_test, bounds=(0, 1), overlap=SHARED_PAIRS
        )
        np.testing.assert_array_equal([band.low[point], band.high[point]], [one.low, one.high])


def test_one_split_has_a_band_over_its_participants() -> None:
    frame = rows((20, 17), repeats=1, folds=1)
    curve = roc_of(frame[frame["configuration"] == "attention"], "patient", ("control",), banded=True)
    assert curve is not None
    assert curve.band is not None
    inner = slice(1, -1)
    assert np.all(curve.band.low[inner] <= curve.mean[inner])
    assert np.all(curve.mean[inner] <= curve.band.high[inner])
    assert (curve.band.high - curve.band.low)[50] > 0.05
    assert redrawn_alike(roc("attention", curve, {}))


def test_calibration_bins_by_a_slow_loop() -> None:
    rng = np.random.default_rng(5)
    n, rounds = 23, 3
    p = np.round(rng.random(n * rounds), 1)  # with ties
    truth = (rng.random(n * rounds) < p).astype(float)
    table = calibration_table("x", truth, p, rounds)
    assert table["n"].sum() == pytest.approx(n)
    assert len(table) <= n // 5
    assert table["probability"].is_monotonic_increasing
    edges = [-1.0]
    for _, row in table.iterrows():
        inside = [i for i in range(len(p)) if p[i] > edges[-1]]
        inside.sort(key=lambda i: p[i])
        inside = inside[: round(row["n"] * rounds)]
        assert row["probability"] == pytest.approx(np.mean([p[i] for i in inside]))
        assert row["observed"] == pytest.approx(np.mean([truth[i] for i in inside]))
        edges.append(p[inside[-1]])


def test_the_interval_of_a_share_is_wilsons() -> None:
    for hits, n in ((0, 3), (2, 7), (11, 11)):
        limits = binomtest(hits, n).proportion_ci(0.95, "wilson")
        low, high = share_interval(np.array([hits / n]), np.array([float(n)]))
        assert (low[0], high[0]) == pytest.approx((limits.low, limits.high))


def test_net_benefit_is_its_mean_over_rounds() -> None:
    said = told(rows((13, 9), repeats=3))
    truth, p = (said["label"] == "patient").to_numpy(float), said["p_patient"].to_numpy(float)
    table = decision_table({"attention": (truth, p)})
    for threshold in (0.07, 0.3, 0.62):
        each = []
        for _, own in said.groupby("repeat"):
            called, sick = own["p_patient"] >= threshold, own["label"] == "patient"
            odds = threshold / (1 - threshold)
            each.append((np.sum(called & sick) - odds * np.sum(called & ~sick)) / len(own))
        row = table[np.isclose(table["threshold"], threshold)].iloc[0]
        assert row["attention"] == pytest.approx(np.mean(each))
        assert row["treat_all"] == pytest.approx((9 - 13 * threshold / (1 - threshold)) / 22)


def test_dots_of_equal_scores_lie_side_by_side() -> None:
    places = stacked(np.array([0.1, 0.1, 0.1, 0.9]))
    assert len(set(places[:3])) == 3
    assert places[3] == 0
    assert np.abs(stacked(np.full(900, 0.5))).max() <= 0.4


def test_the_worst_errors_are_the_surest_and_name_what_was_called() -> None:
    frame = rows((6, 6), repeats=3)
    mine = (frame["participant_id"] == "sub-02") & (frame["configuration"] == "attention")
    frame.loc[mine, ["p_control", "p_patient"]] = 0.01, 0.99
    table = worst_calls(people_of(told(frame), TWO), told(frame))
    assert table is not None
    assert table.rows[0] == ("sub-02", "control", "patient", "0.01", "3 of 3")
    assert all(int(row[-1].split()[0]) >= 2 for row in table.rows)
    even = told(rows((6, 6), repeats=2))
    table = worst_calls(people_of(even, TWO), even)  # one of two rounds is no call
    assert table is None or all(row[-1] == "2 of 2" for row in table.rows)


def redrawn_alike(drawing: Drawing) -> bool:
    again = redrawn(drawing.kind, drawing.name, read_back(csv_text(drawing.table).encode()), drawing.facts)
    return str(again) == str(drawing)


@pytest.mark.parametrize(
    ("counts", "classes", "outside", "drawn"),
    [
        ((13, 3), TWO, False, ["scores", "precision_recall", "calibration", "decision_curve"]),
        ((12, 11), TWO, True, ["scores", "precision_recall"]),
        ((9, 8, 3), THREE, False, ["scores", "precision_recall"]),
        ((12, 1), TWO, False, ["scores", "precision_recall", "calibration", "decision_curve"]),
    ],
)
def test_what_is_drawn_is_drawn_again_and_says_how_many(counts, classes, outside, drawn) -> None:
    frame = rows(counts, classes)
    if outside:
        nothing = pd.array([pd.NA] * len(frame), dtype="Int64")
        frame = frame[frame["repeat"] == 0].assign(repeat=nothing[: len(frame) // 2], fold=0, seed=0)
    content = scored_content(frame, ["attention", "mean_pool_logistic"], classes, outside)
    assert content is not None
    assert [drawing.name for drawing in drawings_of(content)] == drawn
    if outside or min(counts) == 1:
        assert all(redrawn_alike(drawing) for drawing in drawings_of(content))
    counted = ", ".join(f"{n} {name}" for n, name in zip(counts, classes, strict=True))
    assert f"{sum(counts)} participants ({counted})" in content["parts"][0]["caption"]
    assert (f"has {min(counts)} participant" in content["few"]) == (min(counts) < 10)


def test_constant_scores_and_a_class_alone_give_a_sentence_in_place_of_a_figure() -> None:
    frame = rows((9, 8))
    flat = frame.assign(p_control=0.5, p_patient=0.5)
    content = scored_content(flat, ["attention"], TWO)
    assert content is not None
    assert [part["drawing"] for part in content["parts"]] == [None]
    assert "the same probabilities" in content["parts"][0]["caption"]
    alone = frame.assign(fold=(frame["y"] == "patient").astype(int))  # no test part holds both sides
    content = scored_content(alone, ["attention"], TWO)
    assert content is not None
    assert "no test part holds both" in content["parts"][1]["caption"]
    assert scored_content(frame.drop(columns=["p_control"]), ["attention"], TWO) is None
    assert scored_content(frame, ["another"], TWO) is None


def test_errors_of_numbers_are_the_largest() -> None:
    frame = pd.DataFrame(
        {"participant_id": list("pqr") * 2, "configuration": "mean", "y": [50.0, 60, 70] * 2}
    )
    content = number_errors(frame.assign(prediction=[50.0, 66, 61, 52, 66, 61]), "mean")
    assert content is not None
    assert [row[0] for row in content["worst"].rows] == ["r", "q", "p"]
    assert content["worst"].rows[0][1:] == ("70", "61.00", "−9.00")


def test_thousands_of_participants_stay_a_small_figure() -> None:
    n = 5000
    people = pd.DataFrame(
        {"participant_id": [f"s{i}" for i in range(n)], "label": [TWO[i % 2] for i in range(n)]}
    ).assign(p_patient=np.linspace(0, 1, n), own=0.5)
    drawing = distribution(score_table(people, TWO), TWO, "probability", None)
    assert len(drawing) < 500_000
    assert len(drawing.table) == n
