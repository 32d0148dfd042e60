"""Tables and sentences of an ablation say what the numbers say; heat maps hold the grid's numbers."""

from typing import Any

import numpy as np
import pytest

from aggregate.ablate.findings.claims import (
    exploratory_sentence,
    mean_pool_sentences,
    null_sentences,
    primary_sentence,
)
from aggregate.ablate.findings.compare import Comparison, Row, make_row, primary_comparisons
from aggregate.ablate.findings.heat import heat_of
from aggregate.ablate.findings.results import AblationResults
from aggregate.ablate.findings.tables import cells, csv_frame, escape
from aggregate.ablate.grid.expand import Study, expand
from aggregate.config.ablate import AblateSpec
from aggregate.report.pages.ablation import primary_marks
from aggregate.statistics.corrected import SHARED_PAIRS, Interval, corrected_t_test
from aggregate.statistics.evaluate import AUROC, Measured
from aggregate.statistics.holm import holm

LOOKS_AT_FIGURES = True


def found(difference: float, p: float | None) -> dict[str, float | None]:
    return {"difference": difference, "ci_low": difference - 0.1, "ci_high": difference + 0.1, "p": p}


def row(name: str, auroc: float = 0.7, **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "varied": {},
        "n_runs": 10,
        "intervals": {"auroc": Interval(auroc, auroc - 0.1, auroc + 0.1), "brier": Interval(0.2, 0.1, 0.3)},
        "primary": AUROC,
        "spread": 0.05,
        "difference": found(0.03, 0.4),
        "kind": "exploratory",
        "p_holm": None,
        "versus_mean_pool": found(-0.02, 0.6),
    }
    return Row(name, **{**fields, **changes})


BAR = row("mean_pool_logistic", 0.72, versus_mean_pool=None)


def test_a_configuration_that_does_not_beat_mean_pooling_is_said_and_shown() -> None:
    rows = [
        row("a"),
        row("b", versus_mean_pool=found(0.1, 0.01)),
        row("c", versus_mean_pool=found(-0.1, 0.01)),
    ]
    assert mean_pool_sentences(rows, [BAR]) == [
        "1 of 3 configurations is shown to beat mean pooling + logistic regression (AUROC 0.720), "
        "p not adjusted; 1 are worse than it.".replace("1 are", "1 is")
    ]
    assert mean_pool_sentences(rows[:1], [BAR])[0].startswith("None of 1 configuration is shown to beat")
    assert mean_pool_sentences(rows[1:2], [BAR])[0].startswith("Each of 1 configuration is better")
    assert [cells(r)[-1] for r in rows] == ["NO", "yes", "NO"]
    assert list(csv_frame(rows)["beats_mean_pooling"]) == ["no", "yes", "no"]


@pytest.mark.parametrize(
    ("difference", "p", "holm", "said"),
    [
        (0.1, 0.01, 0.02, "a is better than b"),
        (-0.1, 0.01, 0.02, "a is worse than b"),
        (0.1, 0.03, 0.06, "a is not shown to differ from b"),
        (0.1, 0.0001, 0.0002, "Holm p < 0.001"),
        (0.1, None, None, "cannot be compared"),
    ],
)
def test_a_primary_comparison_is_judged_by_holm(
    difference: float, p: float | None, holm: float | None, said: str
) -> None:
    assert said in primary_sentence(Comparison("a", "b", found(difference, p), holm), AUROC)


def test_exploratory_comparisons_come_with_what_chance_would_give() -> None:
    rows = [row(f"c{i}", difference=found(0.1, 0.001 if i < 2 else 0.5)) for i in range(20)]
    sentence = exploratory_sentence([*rows, row("p", kind="primary")], "ref")
    assert "20 comparisons" in sentence
    assert "2 are below 0.05, where about 1.0" in sentence


def test_few_shuffles_claim_nothing() -> None:
    null = {"mean": 0.5, "sd": 0.1, "p": 0.1, "n": 9}
    assert "so few shuffles cannot give a p below 0.05" in null_sentences({"a": null}, [row("a")])[0]
    many = {"mean": 0.5, "sd": 0.1, "p": 0.01, "n": 99}
    assert ": better than chance" in null_sentences({"a": many}, [row("a")])[0]


def test_shuffled_labels_do_not_outdo_an_interval_that_holds_guessing() -> None:
    many = {"mean": 0.5, "sd": 0.05, "p": 0.01, "n": 99}
    (said,) = null_sentences({"a": many}, [row("a", 0.58)])
    assert "not shown to be better than chance, p = 0.010, and its own interval reaches down to 0.5" in said


def test_configurations_that_are_one_run_count_once() -> None:
    study = small_study(
        {
            "configurations": {name: {} for name in "abcd"},
            "primary": [["b", "a"], ["c", "a"], ["a", "d"], ["d", "b"], ["c", "b"]],
        }
    )
    same = {"a": "a", "b": "b", "c": "b", "d": "d"}
    rng = np.random.default_rng(0)
    sizes = np.full(15, 40.0), np.full(15, 10.0)
    draws = {run: rng.normal(0.6, 0.05, 15) for run in "abd"}
    measured = {name: Measured(name, {"auroc": draws[run]}, *sizes) for name, run in same.items()}
    found = {(c.a, c.b): c for c in primary_comparisons(study, measured, same)}
    p = {pair: (c.found or {})["p"] for pair, c in found.items()}
    family = holm([p["b", "a"], p["a", "d"], p["d", "b"]])  # five were named; three are different
    told = [found[pair].p_holm for pair in (("b", "a"), ("a", "d"), ("d", "b"))]
    assert told == pytest.approx(family)
    assert found["c", "a"].p_holm == found["b", "a"].p_holm
    assert found["c", "b"].p_holm is None
    assert "one run under two names" in primary_sentence(found["c", "b"], AUROC)
    low = Interval(0.6, 0.5, 0.7)
    rows = [
        make_row(study, name, {}, 15, measured, {"auroc": low}, list(found.values()), None, same)
        for name in "abcd"
    ]
    assert [r.same_as for r in rows] == ["", "", "b", ""]
    assert [r.kind for r in rows] == ["reference", "primary", "primary", "primary"]
    twins = [row("x"), row("y"), row("z", same_as="y")]
    assert "1 of 2" not in exploratory_sentence(twins, "ref")
    assert "2 comparisons" in exploratory_sentence(twins, "ref")
    assert "None of 2 configurations" in mean_pool_sentences(twins, [BAR])[0]
    assert cells(twins[2])[0] == "z (same run as y)"
    assert list(csv_frame(twins)["same_as"]) == ["", "", "y"]


def test_the_reference_under_another_name_is_not_compared_with_itself() -> None:
    study = small_study({"configurations": {"a": {}, "b": {}}, "reference": "a"})
    values = {name: Measured(name, {"auroc": np.arange(5) / 5}, *(np.full(5, 10.0),) * 2) for name in "ab"}
    same = {"a": "a", "b": "a"}
    made = make_row(study, "b", {}, 5, values, {"auroc": Interval(0.4, 0.3, 0.5)}, [], None, same)
    assert made.difference is None
    assert made.same_as == "a"
    assert exploratory_sentence([made], "a") == ""


def small_study(ablate: dict[str, Any]) -> Study:
    return expand({"cohort": "t", "target": "d", "ablate": ablate})


def test_holm_is_over_the_primary_comparisons_alone() -> None:
    names = ("a", "b", "c", "d")
    study = small_study(
        {
            "configurations": {name: {} for name in names},
            "primary": [["b", "a"], ["c", "a"], ["d", "mean_pool_logistic"]],
        }
    )
    rng = np.random.default_rng(0)
    sizes = np.full(15, 40.0), np.full(15, 10.0)
    measured = {
        name: Measured(name, {"auroc": 0.6 + 0.05 * shift + rng.normal(0, 0.05, 15)}, *sizes)
        for shift, name in enumerate([*names, "mean_pool_logistic"])
    }
    pairs = [("b", "a"), ("c", "a"), ("d", "mean_pool_logistic")]
    p = [
        corrected_t_test(
            measured[x].values["auroc"] - measured[y].values["auroc"], *sizes, overlap=SHARED_PAIRS
        ).p
        for x, y in pairs
    ]
    # Written out: sort, multiply by the number not yet rejected, never fall, never above 1.
    expected, worst = dict.fromkeys(pairs, 0.0), 0.0
    for left, (value, pair) in enumerate(sorted(zip(p, pairs, strict=True))):
        worst = max(worst, min(1.0, value * (len(p) - left)))
        expected[pair] = worst
    result = primary_comparisons(study, measured, {name: name for name in names})
    assert [(c.a, c.b) for c in result] == pairs
    assert [c.p_holm for c in result] == pytest.approx([expected[pair] for pair in pairs])


def test_the_heat_map_holds_the_grid() -> None:
    study = small_study(
        {
            "configurations": {"a": {"head.embedding": [5]}},
            "grid": {
                "from": "a",
                "loss.class_variance.reduction": ["sum", "mean"],
                "loss.supcon": [1, 0],
                "loss.class_variance.weight": [0, 0.5, 2],
            },
            "exclude": [
                {"loss.supcon": 0, "loss.class_variance.weight": 2, "loss.class_variance.reduction": "sum"}
            ],
        }
    )
    rows = [row(c.name, auroc=index / 100) for index, c in enumerate(study.configurations)]
    heat = heat_of(study, rows)
    assert heat is not None
    assert (heat.y, heat.x) == (
        "supcon",
        "loss.class_variance.weight".removeprefix("loss.").removesuffix(".weight"),
    )
    assert (heat.y_values, heat.x_values) == ((0, 1), (0, 0.5, 2))
    assert [panel.title for panel in heat.panels] == [
        "class_variance.reduction sum",
        "class_variance.reduction mean",
    ]
    np.testing.assert_array_equal(heat.panels[0].values, [[0.04, 0.05, np.nan], [0.01, 0.02, 0.03]])
    np.testing.assert_array_equal(heat.panels[1].values, [[0.09, 0.10, 0.11], [0.06, 0.07, 0.08]])


def test_no_heat_map_without_two_numeric_axes() -> None:
    one = {"configurations": {"a": {}}, "grid": {"train.epochs": [1, 2], "head.kind": ["mean", "attention"]}}
    study = small_study(one)
    assert heat_of(study, [row(c.name) for c in study.configurations]) is None


def test_latex_is_escaped() -> None:
    assert escape("50% of a_b & {c} <−>") == r"50\% of a\_b \& \{c\} $<$$-$$>$"


def test_long_grids_give_way_to_what_has_a_name() -> None:
    study = small_study({"configurations": {"a": {}}, "grid": {"train.epochs": [1, 2, 3, 4]}})
    rows = (*(row(c.name) for c in study.configurations), row("nested_selection"))
    empty = dict.fromkeys(AblationResults.__dataclass_fields__)
    results = AblationResults(**{**empty, "study": study, "rows": rows})  # type: ignore[arg-type]
    names = [r.name for r in results.first_rows(4)]
    assert names == ["a", "grid epochs=1", "grid epochs=2", "nested_selection"]
    assert results.first_rows(9) == list(rows)


@pytest.mark.parametrize(
    ("p", "difference", "filled"), [(0.01, 0.1, True), (0.2, 0.1, False), (0.01, -0.1, False)]
)
def test_a_primary_mark_is_filled_where_it_is_shown_to_beat_the_other_side(p, difference, filled) -> None:
    spec = AblateSpec(configurations={"a": {"label": "A (ours)"}, "b": {}})
    (mark,) = primary_marks([Comparison("a", "b", found(difference, p), p)], AUROC, spec)
    assert mark.name == "A (ours) against b"
    assert mark.primary
    assert mark.beats is filled
