"""The rows that any head has to beat."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from aggregate.bags.bags import Bags, read_bags
from aggregate.baselines.baselines import (
    confounds_only,
    from_acquisition,
    make_baselines,
    mean_pool,
)
from aggregate.baselines.confounds import confound_frame, site_by_label, site_warnings
from aggregate.baselines.names import BASELINES, CROPPED, crop_of
from aggregate.cohort.acquisition import HEAD_SIZE, INTENSITY, SCANNER
from aggregate.cohort.cohort import load_cohort
from aggregate.cohort.folds import make_folds
from aggregate.common.design import design
from aggregate.common.scaling import fit_scaling
from aggregate.config.section import parse_section
from aggregate.statistics.metrics import by_participant, measure
from aggregate.training.solving.logistic import STRENGTHS, choose_strength, solve, solve_chosen
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.format.record import UsedForeground

pytestmark = pytest.mark.numerics


def test_mean_pool_is_the_mean_of_kept_slices():
    generator = np.random.default_rng(0)
    counts = [5, 1, 3]
    x, keep = np.zeros((3, 5, 7), dtype=np.float32), np.zeros((3, 5), dtype=bool)
    slow = np.zeros((3, 7))
    for row, n in enumerate(counts):
        x[row, :n], keep[row, :n] = generator.normal(3, 1, (n, 7)), True
        for i in range(n):
            slow[row] += x[row, i].astype(np.float64) / n
    bags = Bags(torch.tensor(x), torch.tensor(keep), torch.zeros(3, 5))
    assert mean_pool(bags) == pytest.approx(slow, abs=1e-6)


def test_design_learns_from_the_training_rows_only():
    frame = pd.DataFrame(
        {
            "age": [10.0, np.nan, 30.0, 20.0, 1000.0],
            "site": pd.Series(["b", "a", "b", np.nan, "z"], dtype="object"),
            "never": [np.nan, np.nan, np.nan, np.nan, 5.0],
        }
    )
    x = design(frame, np.array([0, 1, 2, 3]))
    assert x.tolist() == [[10, 0, 1], [20, 1, 0], [30, 0, 1], [20, 0, 1], [1000, 0, 0]]
    assert design(frame[[]], np.array([0])).shape == (5, 0)


def test_scaling_drops_what_does_not_vary():
    x = np.array([[1.0, 7.1, 3.0], [3.0, 7.1, 5.0], [5.0, 7.1, 10.0]])
    scaled = fit_scaling(x)(x)
    assert scaled.shape == (3, 2)
    assert scaled.mean(axis=0) == pytest.approx([0, 0])
    assert scaled.std(axis=0) == pytest.approx([1, 1])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rotation_changes_no_prediction(n_classes):
    generator = np.random.default_rng(n_classes)
    train, test = generator.normal(size=(23, 61)), generator.normal(size=(11, 61))
    y = np.arange(23) % n_classes
    weight = generator.uniform(0.5, 1, 23)
    mean, sd = train.mean(axis=0), train.std(axis=0)
    plain = LogisticRegression(C=0.01, max_iter=10_000, tol=1e-10)
    plain.fit((train - mean) / sd, y, sample_weight=weight)
    found = solve(train, y, weight, n_classes, 0.01)
    expected = plain.predict_proba((test - mean) / sd)
    assert np.exp(found.log_probabilities(test)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_solution_is_where_its_penalised_loss_is_flat(n_classes):
    generator = np.random.default_rng(n_classes)
    x, y = generator.normal(2, 3, size=(41, 7)), np.arange(41) % n_classes
    weight = generator.uniform(0.5, 1, 41)
    found = solve(x, y, weight, n_classes, 0.1)
    z = (x - found.mean) / found.sd
    p = np.exp(found.log_probabilities(x))
    miss = (p - np.eye(n_classes)[y]) * (weight / weight.sum())[:, None]
    # Of two classes scikit-learn penalises the difference of the rows, which is twice as large as either.
    penalty = (2 if n_classes == 2 else 1) / (0.1 * weight.sum())
    assert miss.T @ z + penalty * found.weight == pytest.approx(np.zeros((n_classes, 7)), abs=1e-3)
    assert miss.sum(axis=0) == pytest.approx(np.zeros(n_classes), abs=1e-3)


def test_equal_rows_are_solved_once():
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(30, 4)), np.arange(30) % 2
    rows = (y, np.ones(30), np.arange(30), y, 2)
    first = solve_chosen(x, *rows)
    assert solve_chosen(x.copy(), *rows) is first
    assert solve_chosen(x + 1e-9, *rows) is not first


def test_logistic_without_columns_or_a_class():
    weight = np.array([1.0, 1.0, 2.0])
    nothing = solve(np.zeros((3, 0)), np.array([0, 1, 1]), weight, 2, 1.0)
    assert np.exp(nothing.log_probabilities(np.zeros((2, 0)))) == pytest.approx(
        np.array([[0.25, 0.75]] * 2), abs=1e-6
    )
    unseen = solve(np.arange(3.0)[:, None], np.array([0, 2, 2]), weight, 3, 1.0)
    assert np.exp(unseen.log_probabilities(np.ones((1, 1))))[0, 1] < 1e-8


def test_the_penalty_is_chosen_by_participants():
    generator = np.random.default_rng(3)
    labels = np.arange(41) % 2
    group = np.repeat(np.arange(41), 2)
    noise = generator.normal(size=(82, 53))
    clear = noise + 3 * labels[group][:, None]
    assert choose_strength(clear, labels[group], np.ones(82), group, labels, 2) > STRENGTHS[1]
    # Folds over rows would see each participant on both sides and call memorising noise a good idea.
    copied = noise[group]
    ours = choose_strength(copied, labels[group], np.ones(82), group, labels, 2)
    leaky = choose_strength(copied, labels[group], np.ones(82), np.arange(82), labels[group], 2)
    assert ours <= STRENGTHS[2] < leaky


COLUMNS = "participant_id\tage\tgender\tSite\tdx\n"


@pytest.fixture
def built(make_store, scan, tmp_path):
    """24 participants; patients' tokens are shifted, their site is mostly B, everything else is even."""
    generator = np.random.default_rng(0)
    scans, lines = [], [COLUMNS]
    for i in range(24):
        patient = i % 2
        brain = UsedForeground(kind="stripped", millilitres=1200 + 100 * generator.normal())
        scans.append(scan(f"{i}", n_slices=3 + i % 4, shift=0.8 * patient, changes={"foreground": brain}))
        site = "B" if patient == (i % 8 != 0) else "A"
        age = "n/a" if i == 5 else f"{60 + 10 * generator.normal():.1f}"
        lines.append(f"{i}\t{age}\t{'MF'[i % 3 == 0]}\t{site}\t{['control', 'patient'][patient]}\n")
    (tmp_path / "t.tsv").write_text("".join(lines))
    store = make_store(scans)

    def load(**keys):
        section = parse_section({"cohort": "t.tsv", "target": "dx", "folds": {"n": 4}, **keys})
        cohort = load_cohort(section.cohort_request(Pipeline({}, tmp_path)), store)
        return section, cohort, make_folds(cohort, section.folds), store

    return load


def out_of_fold(baseline, cohort, folds):
    found = [
        measure(by_participant(cohort.participants[f.test].tolist(), cohort.y[f.test], logits))["auroc"]
        for f, logits in zip(folds, baseline.logits, strict=True)
    ]
    return np.mean(found)


def test_all_are_out_of_fold_probabilities(built):
    section, cohort, folds, store = built()
    bags = read_bags(store, cohort.entries, "cls")
    made = make_baselines(cohort, bags, folds, section.baselines)
    assert [b.name for b in made] == list(BASELINES)
    for baseline in made:
        assert not baseline.reason
        for fold, logits in zip(folds, baseline.logits, strict=True):
            assert logits.shape == (len(fold.test), 2)
            assert np.exp(logits).sum(axis=1) == pytest.approx(np.ones(len(fold.test)))
    assert out_of_fold(made[0], cohort, folds) > 0.9
    assert made[1].notes[-1] == "confounds: gender, age, Site, brain_ml"


def test_scanner_and_head_size_are_told_apart(built):
    _section, cohort, folds, store = built()
    bags = read_bags(store, cohort.entries, "cls")
    told = np.where(cohort.y == 1, 2.0, 1.0)
    for column, only in (
        ("spacing_i_mm", "scanner_only"),
        ("contrast", "scanner_only"),
        ("foreground_ml", "head_size_only"),
        ("slices", "head_size_only"),
        ("intensity_q50", "head_size_only"),
    ):
        even = pd.DataFrame({**dict.fromkeys(cohort.acquisition.columns, 1.0), column: told})
        made = make_baselines(
            replace(cohort, acquisition=even), bags, folds, ("scanner_only", "head_size_only")
        )
        found = {b.name: out_of_fold(b, cohort, folds) for b in made if b.logits}
        assert found == {only: 1.0}, column
    whole = make_baselines(cohort, bags, folds, ("acquisition_only",))
    assert whole[0].notes[0].startswith("columns: ")
    assert parse_section({"cohort": "t", "target": "d", "baselines": ["acquisition_only"]}).baselines == (
        "acquisition_only",
    )


def test_what_a_crop_may_tell_is_said_beside_the_scanner(built):
    _section, cohort, folds, _store = built()
    odd = cohort.acquisition.assign(shape_k=np.arange(24.0), spacing_i_mm=np.where(cohort.y == 1, 1.0, 2.0))
    (said,) = from_acquisition("scanner_only", replace(cohort, acquisition=odd), folds).notes[1:]
    assert said.startswith(f"{CROPPED} 24 of 24 bags (stripped or masked)")
    assert "shape_k, spacing_i_mm tell the crop" in said
    assert crop_of(["a: columns: x", f"scanner_only: {said}"]) == f"{said.capitalize()}."
    assert crop_of(["scanner_only: columns: shape_k"]) == ""
    half = odd.assign(foreground=["head", "mask"] * 12)
    (said,) = from_acquisition("scanner_only", replace(cohort, acquisition=half), folds).notes[1:]
    assert said.startswith(f"{CROPPED} 12 of 24 bags")
    for quiet in (
        odd.assign(foreground="head"),
        odd.assign(shape_k=9.0, spacing_i_mm=1.0, contrast=odd["shape_k"]),
    ):
        assert len(from_acquisition("scanner_only", replace(cohort, acquisition=quiet), folds).notes) == 1


def test_test_rows_never_reach_the_fit(built):
    section, cohort, folds, store = built()
    bags = read_bags(store, cohort.entries, "cls")
    before = make_baselines(cohort, bags, folds[:1], section.baselines)
    frame = cohort.frame.copy()
    frame.loc[folds[0].test, "y"] = 1 - frame.loc[folds[0].test, "y"]
    after = make_baselines(replace(cohort, frame=frame), bags, folds[:1], section.baselines)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a.logits[0], b.logits[0], rtol=0, atol=1e-6)
    assert sorted([*folds[0].inside, *folds[0].test]) == list(range(24))


def test_the_target_is_no_confound(built):
    _section, cohort, folds, _ = built(target="gender")
    frame, notes = confound_frame(cohort)
    assert list(frame.columns) == ["age", "Site", "brain_ml"]
    assert "gender is the target" in notes[0]
    assert confounds_only(cohort, folds).logits
    _, cohort, _, _ = built(target="gender")
    assert list(confound_frame(cohort, ["dx", "gender"])[0].columns) == ["dx", "brain_ml"]
    with pytest.raises(ConfigError, match="no column 'sex'"):
        confound_frame(cohort, confounds=["sex"])


def test_a_heads_millilitres_are_no_brain_volume(make_store, scan, tmp_path):
    (tmp_path / "t.tsv").write_text("participant_id\tdx\n" + "".join(f"{i}\t{i % 2}\n" for i in range(8)))
    store = make_store([scan(str(i)) for i in range(8)])
    section = parse_section({"cohort": "t.tsv", "target": "dx", "folds": {"n": 2}})
    cohort = load_cohort(section.cohort_request(Pipeline({}, tmp_path)), store)
    folds = make_folds(cohort, section.folds)
    assert confounds_only(cohort, folds).reason == (
        "the table has no age, sex or site column; no brain volume: the foreground is a head, not a brain"
    )
    assert "orientation" in from_acquisition("scanner_only", cohort, folds).reason
    assert "are the same in every volume" in from_acquisition("head_size_only", cohort, folds).reason


def test_sites_by_label_and_the_red_line(built):
    _section, cohort, _, _ = built()
    table = site_by_label(cohort)
    assert table.columns.tolist() == ["control", "patient"]
    assert table.to_numpy().tolist() == [[9, 0], [3, 12]]
    assert site_warnings(table) == [
        "site A holds control only (9 participants): the site alone tells their label"
    ]
    assert site_warnings(table.loc[["B"]]) == []
    by_sex = site_by_label(cohort, "gender")
    assert by_sex.index.tolist() == ["F", "M"]
    _, cohort, _, _ = built(target="Site")
    assert site_by_label(cohort) is None


def test_every_column_that_a_baseline_may_read_is_explained():
    page = (Path(__file__).parents[2] / "docs" / "shortcuts.md").read_text()
    for name in (*SCANNER, *HEAD_SIZE, "brain_ml", f"{INTENSITY}q50"):
        stem = name.replace("_j", "_i").replace("_k", "_i")
        assert f"| `{stem}`" in page or f", `{stem}`" in page, name
