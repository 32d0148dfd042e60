"""Nobody is on two sides, classes are spread evenly, and what cannot be divided is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_store import example_draft

from aggregate.cohort.cohort import Cohort
from aggregate.cohort.folds import deal, make_folds, matched_notes, matched_traits
from aggregate.cohort.people import Fold, FoldSpec
from aggregate.cohort.sides import check_sides, find_twins, fold_notes
from aggregate.cohort.turnout import Turnout
from aggregate.targets.classification import Classification
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.format.canonical import sha256_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import SourceFile, VolumeRecord
from cache_schema.store.reader import VolumeEntry


def cohort(labels, sessions=(), classes=("control", "patient"), **columns):
    """Participants with these labels; `sessions` many bags each (1 by default)."""
    people = [(i, s) for i in range(len(labels)) for s in range(sessions[i] if sessions else 1)]
    names = [f"p{i}" for i, _ in people]
    keys = [VolumeKey(f"p{i}", f"s{s}", "T1w") for i, s in people]
    records = tuple(
        VolumeRecord(
            **example_draft(key, 3).model_dump(), row=row, tokens={"cls": {"mean": row / 7}}, digest=str(row)
        )
        for row, key in enumerate(keys)
    )
    frame = pd.DataFrame({"participant_id": names, "y": [labels[i] for i, _ in people], "weight": 1.0})
    values = frame["y"].to_numpy(dtype=np.float64)[:, None]
    return Cohort(
        kind=Classification(classes),
        values=values,
        frame=frame,
        entries=tuple(VolumeEntry(key, row, 3, "") for row, key in enumerate(keys)),
        classes=classes,
        turnout=Turnout(),
        bag=np.arange(len(people)),
        records=records,
        table=pd.DataFrame({name: [values[i] for i, _ in people] for name, values in columns.items()}),
        acquisition=pd.DataFrame(),
        target="dx",
    )


def sides(made, fold):
    return [set(made.participants[rows]) for rows in (fold.train, fold.validation, fold.test)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(2, 31), min_size=2, max_size=4),
    st.integers(2, 7),
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_folds_part_participants_evenly(counts, n, repeats, seed):
    counts = [max(count, n) for count in counts]
    labels = np.repeat(np.arange(len(counts)), counts).tolist()
    generator = np.random.default_rng(seed)
    made = cohort(
        labels, generator.integers(1, 4, len(labels)).tolist(), classes=tuple("abcd"[: len(counts)])
    )
    folds = make_folds(made, FoldSpec(n=n, repeats=repeats, seed=seed))
    assert [(f.repeat, f.fold) for f in folds] == [(r, f) for r in range(repeats) for f in range(n)]
    for repeat in range(repeats):
        own = folds[repeat * n : (repeat + 1) * n]
        tested = np.concatenate([f.test for f in own])
        assert sorted(tested) == list(range(len(made.frame)))
        sizes = [len(sides(made, f)[2]) for f in own]
        assert max(sizes) - min(sizes) <= 1
        for label in range(len(counts)):
            per = [len(set(made.participants[f.test][made.y[f.test] == label])) for f in own]
            assert max(per) - min(per) <= 1
    for fold in folds:
        train, validation, test = sides(made, fold)
        assert not train & validation
        assert not (train | validation) & test
        assert set(made.y[fold.train]) == set(range(len(counts)))
        everything = np.concatenate([fold.train, fold.validation, fold.test])
        assert sorted(everything) == list(range(len(made.frame)))
        assert (np.diff(fold.train) > 0).all()


def test_dealing_is_random_but_seeded():
    y = np.repeat([0, 1, 2], [7, 11, 5])
    hands = [deal(y, 4, np.random.default_rng(seed)) for seed in range(5)]
    assert np.array_equal(hands[0], deal(y, 4, np.random.default_rng(0)))
    assert len({tuple(h) for h in hands}) == 5


def test_folds_do_not_depend_on_the_order_of_the_store():
    made = cohort([0, 1] * 13)
    order = np.random.default_rng(3).permutation(26)
    turned = replace(made, frame=made.frame.iloc[order].reset_index(drop=True))
    for a, b in zip(make_folds(made, FoldSpec()), make_folds(turned, FoldSpec()), strict=True):
        assert sides(made, a) == sides(turned, b)


def test_repeats_and_seeds_differ():
    made = cohort([0, 1] * 13)
    tests = [tuple(f.test) for f in make_folds(made, FoldSpec(repeats=2))]
    assert tests[:5] != tests[5:]
    assert tests[:5] != [tuple(f.test) for f in make_folds(made, FoldSpec(seed=1))]


def test_validation_needs_twenty_per_class_in_the_training_part():
    enough = cohort([0] * 25 + [1] * 40)
    folds = make_folds(enough, FoldSpec())
    for fold in folds:
        y = enough.y[fold.validation]
        assert [(y == 0).sum(), (y == 1).sum()] == [4, 6]
        assert len(fold.train) + len(fold.validation) == 52
    assert fold_notes(enough, folds, FoldSpec()) == []
    few = cohort([0] * 24 + [1] * 40)
    folds = make_folds(few, FoldSpec())
    bare = [f for f in folds if not len(f.validation)]
    # 24 controls over 5 folds leave 19 in four of them and 20 in the fifth.
    assert len(bare) == 4
    note = fold_notes(few, folds, FoldSpec())[0]
    assert "fewer than 20" in note
    assert "control: 19" in note
    assert "threshold 0.5" in note


def test_too_few_participants():
    with pytest.raises(
        SlicecacheError, match=r"class 'patient' has 3 participants, too few for 5 folds; set"
    ):
        make_folds(cohort([0] * 9 + [1] * 3, [1] * 9 + [4] * 3), FoldSpec())
    with pytest.raises(SlicecacheError, match="has 1 participant, too few for 2 folds; at least two"):
        make_folds(cohort([0] * 9 + [1]), FoldSpec(n=2))


def test_a_given_split_is_used_as_it_is():
    made = cohort([0, 1] * 5)
    names = ("train",) * 5 + ("validation",) * 2 + ("test",) * 3
    (fold,) = make_folds(replace(made, sides=names), FoldSpec())
    assert fold.train.tolist() == [0, 1, 2, 3, 4]
    assert fold.validation.tolist() == [5, 6]
    assert fold.test.tolist() == [7, 8, 9]
    with pytest.raises(SlicecacheError, match="no volume of the cohort is in test"):
        make_folds(replace(made, sides=("train",) * 10), FoldSpec())
    with pytest.raises(SlicecacheError, match=r"training part has no participant with dx = patient"):
        make_folds(replace(made, sides=("train", "test") * 5), FoldSpec())


def test_a_given_split_without_validation_takes_it_from_training():
    made = replace(cohort([0, 1] * 40), sides=("train",) * 60 + ("test",) * 20)
    (fold,) = make_folds(made, FoldSpec())
    assert len(fold.validation) == 12
    assert fold.test.tolist() == list(range(60, 80))


def test_groups_are_left_out_one_by_one():
    made = cohort([0, 1] * 6, sessions=[2] * 12, site=[3.0, 3.0, 1.0, 1.0, 10.0, 10.0] * 2)
    folds = make_folds(made, FoldSpec(), "site")
    assert [f.name for f in folds] == ["1", "3", "10"]
    for fold in folds:
        assert {f"{v:g}" for v in made.table["site"].iloc[fold.test]} == {fold.name}
        assert len(fold.test) == 8


@pytest.mark.parametrize(
    ("site", "error", "message"),
    [
        (["a"] * 6, SlicecacheError, "one value only"),
        (["a", "b", "a", "b", "a", None], SlicecacheError, "p5 has no 'site'"),
        (["a", "b", "a", "b", "a", "b"], SlicecacheError, "without a has no participant with dx = control"),
    ],
)
def test_groups_that_cannot_be_left_out(site, error, message):
    made = cohort([0, 1] * 3, site=site)
    with pytest.raises(error, match=message):
        make_folds(made, FoldSpec(), "site")
    with pytest.raises(ConfigError, match="no column 'sit'; did you mean 'site'"):
        make_folds(made, FoldSpec(), "sit")


def test_a_participant_of_two_groups_is_refused():
    made = cohort([0, 1] * 3, sessions=[2, 1, 1, 1, 1, 1], site=["a", "b", "b", "a", "a", "b"])
    made.table.loc[1, "site"] = "b"
    with pytest.raises(SlicecacheError, match="p0 belongs to more than one 'site'"):
        make_folds(made, FoldSpec(), "site")


def test_a_hand_made_fold_with_a_participant_on_two_sides_is_caught():
    made = cohort([0, 1] * 3, sessions=[2] * 6)
    fold = Fold(0, 0, np.array([0, 2]), np.array([], dtype=int), np.array([1, 5]))
    with pytest.raises(SlicecacheError, match="p0 is on two"):
        check_sides(made, [fold])
    with pytest.raises(SlicecacheError, match="uses a volume twice"):
        check_sides(made, [replace(fold, test=np.array([2]))])


@pytest.mark.parametrize("how", ["file", "content"])
def test_one_scan_under_two_names_is_caught(how):
    made = cohort([0, 1] * 5)
    records = list(made.records)
    if how == "file":
        same = records[2].source.sha256
        other = SourceFile(path="elsewhere.nii", bytes=3, mtime_ns=9, sha256=same)
        records[7] = records[7].model_copy(update={"source": other})
    else:
        records[7] = records[7].model_copy(update={"tokens": records[2].tokens})
    twins = replace(made, records=tuple(records))
    assert find_twins(made) == []
    assert find_twins(twins) == [(2, 7)]
    with pytest.raises(SlicecacheError, match="p2 and p7 have the same content"):
        make_folds(twins, FoldSpec(repeats=7))  # in a single repeat the two may happen to share a fold


def test_copies_within_a_participant_are_no_leak():
    made = cohort([0, 1] * 5, sessions=[2] * 10)
    records = [
        r.model_copy(update={"source": r.source.model_copy(update={"sha256": sha256_json(r.participant_id)})})
        for r in made.records
    ]
    assert find_twins(replace(made, records=tuple(records))) == []


def matched_cohort(n_each=20, **changes):
    """Sex (2) and site (3) dealt equally to both classes, patients older."""
    pair = np.tile(np.arange(n_each), 2)
    columns = {
        "sex": np.array(["F", "M"])[(pair // 3) % 2].tolist(),
        "site": (pair % 3).tolist(),
        "age": (np.random.default_rng(1).normal(66, 8, 2 * n_each) + np.repeat([0, 4], n_each)).tolist(),
    }
    return cohort([0] * n_each + [1] * n_each, **{**columns, **changes})


def test_what_is_matched_is_found():
    made = matched_cohort()
    assert matched_traits(made, FoldSpec()).names == ("sex", "site")
    assert matched_traits(made, FoldSpec(matched=("site",))).names == ("site",)
    assert matched_traits(made, FoldSpec(matched=())).names == ()
    assert matched_traits(replace(made, target="Sex"), FoldSpec()).names == ("site",)
    with pytest.raises(ConfigError, match=r"folds.matched: .*no column 'sxe'.*sex"):
        matched_traits(made, FoldSpec(matched=("sxe",)))
    uneven = matched_cohort(sex=["F"] * 12 + ["M"] * 8 + ["F"] * 10 + ["M"] * 10)
    assert matched_traits(uneven, FoldSpec()).names == ("site",)
    ages = np.random.default_rng(0).normal(70, 9, 20)
    paired = matched_cohort(age=[*ages, *(ages + 0.1)], sex=["F"] * 40)
    assert matched_traits(paired, FoldSpec()).names == ("age", "site")


def test_folds_keep_the_match_and_say_so():
    made = matched_cohort(40)
    folds = make_folds(made, FoldSpec(repeats=3))
    for fold in folds:
        rows = made.table.iloc[fold.test].assign(y=made.y[fold.test])
        assert np.ptp(rows.groupby(["sex", "site", "y"]).size()) <= 1
    assert matched_notes(made, folds, FoldSpec()) == [
        "matched between the classes, so folds are dealt by it too: sex, site"
    ]
    named = make_folds(made, FoldSpec(), "site")
    assert matched_notes(made, named, FoldSpec()) == []


def test_ages_that_are_matched_are_dealt_by_neighbours():
    ages = np.random.default_rng(0).normal(70, 9, 50)
    made = cohort([0] * 50 + [1] * 50, age=[*ages, *(ages + 0.1)])
    by_age, by_label = (
        [made.table["age"][fold.test].mean() for fold in make_folds(made, FoldSpec(repeats=5, matched=names))]
        for names in (None, ())
    )
    assert 3 * np.std(by_age) < np.std(by_label)


def test_what_is_not_matched_is_left_to_chance():
    made = cohort([0] * 20 + [1] * 20, sex=["F"] * 14 + ["M"] * 6 + ["F"] * 6 + ["M"] * 14)
    plain = replace(made, table=pd.DataFrame(index=range(40)))
    for a, b in zip(make_folds(made, FoldSpec()), make_folds(plain, FoldSpec()), strict=True):
        assert np.array_equal(a.test, b.test)
