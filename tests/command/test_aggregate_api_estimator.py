"""HeadClassifier: scikit-learn's conventions, and the numbers of `train` on the same fold."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
import yaml
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_score, cross_validate
from sklearn.utils.estimator_checks import check_estimator

import slicecache as sc
from aggregate.bags.bags import Bags, read_bags
from aggregate.config.section import read_aggregate_section
from aggregate.train.train import train_pipeline
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import StoreReader

Make = Callable[[Sequence[Any]], StoreReader]
QUICK = {"epochs": 12, "learning_rate": 0.01}
N, LONGEST, DIM = 46, 5, 7


@pytest.fixture
def data() -> tuple[Any, Any, Any]:
    """Bags of 1 to 5 slices; two per participant; the label shifts every token."""
    generator = np.random.default_rng(3)
    people = np.repeat([f"p{i:02d}" for i in range(N // 2)], 2)
    y = np.repeat([["control", "patient"][i % 2] for i in range(N // 2)], 2)
    x = generator.standard_normal((N, LONGEST, DIM)) + 1.5 * (y == "patient")[:, None, None]
    x[np.arange(LONGEST) >= generator.integers(1, LONGEST + 1, N)[:, None]] = np.nan
    return x, y, people


@pytest.fixture
def routing() -> Iterator[None]:
    """Metadata routing switched on."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_scikit_learn_finds_nothing_to_object_to() -> None:
    """Every check passes: no list of expected failures."""
    head = sc.HeadClassifier(train={"epochs": 12, "learning_rate": 0.05})
    check_estimator(head, expected_failed_checks={}, on_skip=None)


def test_cross_validation_by_participant(data: Any) -> None:
    x, y, people = data
    found = cross_val_score(sc.HeadClassifier(train=QUICK), x, y, groups=people, cv=GroupKFold(5))
    assert found.shape == (5,)
    assert found.mean() > 0.8


def test_groups_reach_the_inner_validation_by_metadata_routing(data: Any, routing: None) -> None:
    x, y, people = data
    head = sc.HeadClassifier(train=QUICK | {"patience": 2}, minimum_per_class=2).set_fit_request(groups=True)
    found = cross_validate(
        head, x, y, cv=GroupKFold(3), params={"groups": people}, return_estimator=True, return_indices=True
    )
    for fitted, train in zip(found["estimator"], found["indices"]["train"], strict=True):
        inside = set(people[train][fitted.validation_rows_])
        assert inside, "no validation part"
        rest = np.setdiff1d(np.arange(len(train)), fitted.validation_rows_)
        assert not inside & set(people[train][rest])


def test_without_groups_a_participant_is_torn_and_with_them_not(data: Any) -> None:
    x, y, people = data
    head = sc.HeadClassifier(train=QUICK | {"patience": 2}, minimum_per_class=2)
    for groups, torn in ((None, True), (people, False)):
        inside = head.fit(x, y, groups=groups).validation_rows_
        outside = np.setdiff1d(np.arange(N), inside)
        assert bool(set(people[inside]) & set(people[outside])) == torn


@pytest.fixture
def study(make_store: Make, scan: type, tmp_path: Path) -> Path:
    """A store with two sessions a participant, and a pipeline over all of them."""
    names = [f"sub-{i:02d}" for i in range(31)]
    scans = [
        scan(name, session, n_slices=2 + (i + len(session)) % 4, shift=1.0 * (i % 2))
        for i, name in enumerate(names)
        for session in ("1", "02")
    ]
    make_store(scans)
    rows = [f"{name},{'patient' if i % 2 else 'control'}" for i, name in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["participant_id,diagnosis", *rows]) + "\n")
    section = {"cohort": "table.csv", "target": "diagnosis", "sessions": "all", "train": QUICK}
    section |= {"folds": {"n": 3, "minimum_per_class": 5}}
    file = tmp_path / "pipeline.yaml"
    data = {"run": {"folder": "run"}, "cache": {"store": "cohort.zarr"}, "aggregate": section}
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.mark.parametrize("recipe", [None, "dinoatten3d"])
def test_the_same_rows_and_seed_give_what_train_gives(study: Path, recipe: str | None) -> None:
    overrides = [] if recipe is None else [f"aggregate.recipe={recipe}"]
    pipeline = load_pipeline(study, overrides)
    results = train_pipeline(pipeline, read_aggregate_section(pipeline))
    own = results.predictions[
        (results.predictions["configuration"] == (recipe or "attention")) & (results.predictions["fold"] == 0)
    ]
    cohort = results.cohort
    tested = cohort["participant_id"].isin(own["participant_id"]).to_numpy()
    store = sc.open(pipeline.store())
    keys = store.volumes.set_index(["participant_id", "session_id", "volume_id"])
    keys["place"] = np.arange(len(keys))
    ordered = cohort[["participant_id", "session_id", "volume_id"]].itertuples(index=False, name=None)
    bags = store.tokens("cls", [int(keys.loc[key, "place"]) for key in ordered])
    y = np.array(results.classes)[cohort["y"]]
    head = sc.HeadClassifier(recipe=recipe, train=QUICK, minimum_per_class=5)
    head.fit(bags[~tested], y[~tested])
    logits = own[[f"logit_{name}" for name in results.classes]].to_numpy()
    np.testing.assert_allclose(
        head.decision_function(bags[tested]), logits[:, 1] - logits[:, 0], rtol=1e-6, atol=1e-5
    )
    probabilities = own[[f"p_{name}" for name in results.classes]].to_numpy()
    np.testing.assert_allclose(head.predict_proba(bags[tested]), probabilities, rtol=0, atol=1e-5)
    assert head.threshold_ == pytest.approx(own["threshold"].iloc[0], abs=1e-5)


def test_every_form_of_x_gives_the_same(data: Any) -> None:
    x, y, _ = data
    head = sc.HeadClassifier(train=QUICK).fit(x, y)
    keep = ~np.isnan(x).any(-1)
    ragged = [own[kept] for own, kept in zip(x, keep, strict=True)]
    height = torch.zeros(keep.shape)
    torched = Bags(torch.from_numpy(np.nan_to_num(x)).float(), torch.from_numpy(keep), height)
    for given in (ragged, torched, sc.BagArrays(x, keep, height.numpy())):
        again = clone(head).fit(given, y)
        np.testing.assert_allclose(again.predict_proba(given), head.predict_proba(x), rtol=0, atol=1e-6)
    assert cross_val_score(clone(head), torched, y, cv=3).mean() > 0.8
    assert cross_val_score(clone(head), ragged, y, cv=3).mean() > 0.8


def test_attention_sums_to_one_where_there_are_slices(data: Any) -> None:
    x, y, _ = data
    head = sc.HeadClassifier("gated_attention", train=QUICK).fit(x, y)
    np.testing.assert_array_equal(np.isnan(head.attention_), np.isnan(x).all(-1))
    np.testing.assert_allclose(np.nansum(head.attention(x[:9]), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(head.attention(x[:9]), head.attention_[:9], atol=1e-6)


def test_three_classes_and_number_labels(data: Any) -> None:
    x, _, _ = data
    y = np.arange(N) % 3 * 10
    head = sc.HeadClassifier("mean", train=QUICK).fit(x, y)
    assert head.classes_.tolist() == [0, 10, 20]
    assert head.decision_function(x).shape == (N, 3)
    np.testing.assert_array_equal(head.predict(x), head.classes_[head.predict_proba(x).argmax(1)])


def broken(x: Any, place: tuple[Any, ...], value: float) -> Any:
    changed = x.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y, g: (broken(x, (4, 0, 2), np.nan), y, None), "NaN or infinity .* in bag 4"),
        (lambda x, y, g: (broken(x, (4, 0, 2), np.inf), y, None), "NaN or infinity .* in bag 4"),
        (lambda x, y, g: (broken(x, (6,), np.nan), y, None), "no real slice in bag 6"),
        (lambda x, y, g: (broken(np.zeros((N, DIM)), (3, 1), np.nan), y, None), "NaN"),
        (lambda x, y, g: (x, y[:-1], None), "45 labels for 46 bags"),
        (lambda x, y, g: (x, y, g[:-1]), "45 participants of 46 bags"),
        (lambda x, y, g: (x, y, ["one"] * N), "'one' has several"),
        (lambda x, y, g: (x, ["control"] * N, None), "1 class"),
        (lambda x, y, g: (x, None, None), "requires y"),
        (lambda x, y, g: ([x[0], x[1][:, :3]], y[:2], None), "of one dim"),
    ],
)
def test_what_cannot_be_used_is_a_value_error_with_one_sentence(data: Any, change: Any, words: str) -> None:
    x, y, groups = change(*data)
    with pytest.raises(ValueError, match=words):
        sc.HeadClassifier(train=QUICK).fit(x, y, groups=groups)


def test_another_dim_is_refused(data: Any) -> None:
    x, y, _ = data
    head = sc.HeadClassifier(train=QUICK).fit(x, y)
    with pytest.raises(sc.InputError, match="4 numbers per token, but the head was fitted on 7"):
        head.predict(x[:, :, :4])


def test_a_misspelt_part_names_the_nearest(data: Any) -> None:
    x, y, _ = data
    with pytest.raises(sc.ConfigError, match="did you mean 'epochs'"):
        sc.HeadClassifier(train={"epoch": 3}).fit(x, y)


def test_bags_of_torch_are_indexed_as_an_array_is(make_store: Make, scan: type) -> None:
    store = make_store([scan(f"p{i}", n_slices=2 + i) for i in range(4)])
    bags = read_bags(store, store.entries, "cls")
    assert bags.shape == (4, 5, 7)
    for rows in ([2, 0], (np.array([2, 0]), ...)):
        assert bags[rows].keep.sum(1).tolist() == [4, 2]
    assert bags[np.array([True, False, False, True])].keep.sum(1).tolist() == [2, 5]
    assert bags[1].shape == (1, 3, 7)
