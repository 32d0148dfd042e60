"""`HeadRegressor` in scikit-learn's company, and beside `slicecache train`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import slicecache as sc
from aggregate.config.section import read_aggregate_section
from aggregate.train.train import train_pipeline
from cache_schema.common.pipeline_file import load_pipeline

QUICK = {"epochs": 8, "learning_rate": 0.01}
N = 36
"""Few enough for one stratum, in the whole cohort as in the part that is trained on."""


def test_scikit_learn_finds_nothing_to_object_to() -> None:
    """Every check passes: no list of expected failures."""
    head = sc.HeadRegressor("mean", train={"epochs": 2})
    check_estimator(head, expected_failed_checks={}, on_skip=None)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two sessions a participant, in which tokens grow with age, and a pipeline over both."""
    folder = tmp_path_factory.mktemp("ages")
    ages = np.random.default_rng(2).uniform(45, 85, N).round(1)
    people = [f"sub-{i:02d}" for i in range(N)]
    people_store(folder / "a.zarr", people, (ages - 65) / 12, 1, sessions=2, effect=3.0)
    rows = [f"{name}\t{age}" for name, age in zip(people, ages, strict=True)]
    (folder / "a.tsv").write_text("\n".join(["participant_id\tage", *rows]) + "\n")
    section = {
        "cohort": "a.tsv",
        "target": {"column": "age", "task": "regression"},
        "sessions": "all",
        "train": QUICK,
        "folds": {"n": 3},
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "pipeline.yaml"


def test_the_same_rows_and_seed_give_what_train_gives(study: Path) -> None:
    pipeline = load_pipeline(study)
    results = train_pipeline(pipeline, read_aggregate_section(pipeline))
    table = results.predictions
    own = table[(table["configuration"] == "attention") & (table["fold"] == 0)]
    bags = sc.open(pipeline.store()).tokens("cls")
    ages = pd.read_csv(study.parent / "a.tsv", sep="\t").set_index("participant_id")["age"]
    y = ages[bags.participant_id].to_numpy()
    tested = np.isin(bags.participant_id, own["participant_id"])
    head = sc.HeadRegressor(train=QUICK).fit(bags[~tested], y[~tested])
    np.testing.assert_allclose(head.predict(bags[tested]), own["prediction"], rtol=1e-5, atol=1e-3)
    scores = cross_val_score(
        sc.HeadRegressor(train=QUICK), bags, y, groups=bags.participant_id, cv=GroupKFold(3)
    )
    assert scores.mean() > 0.5
    np.testing.assert_allclose(np.nansum(head.attention(bags[:5]), axis=1), 1, atol=1e-6)


def test_an_early_stop_keeps_a_participants_bags_together(study: Path) -> None:
    bags = sc.open(load_pipeline(study).store()).tokens("cls")
    y = np.arange(2.0 * N)
    head = sc.HeadRegressor(train={**QUICK, "patience": 2}, minimum_per_class=2).fit(bags, y)
    inside = set(bags.participant_id[head.validation_rows_])
    assert inside
    rest = np.setdiff1d(np.arange(2 * N), head.validation_rows_)
    assert not inside & set(bags.participant_id[rest])


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (["young", "old"] * N, "what is no number .* labels are for HeadClassifier"),
        ([*range(2 * N - 1), np.nan], "NaN or infinity"),
        (range(2 * N - 1), "71 labels for 72 bags"),
        (None, "requires y"),
    ],
)
def test_what_is_no_number_is_refused(study: Path, y: object, words: str) -> None:
    bags = sc.open(load_pipeline(study).store()).tokens("cls")
    with pytest.raises(sc.InputError, match=words):
        sc.HeadRegressor(train=QUICK).fit(bags, y)
