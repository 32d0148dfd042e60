"""A backbone without CLS: tokens that nobody said are the mean of patches, in `train` and in `ablate`."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from made_up_people import people_store, people_table, words

from aggregate.ablate.ablate import ablate_pipeline
from aggregate.config.section import parse_section, read_aggregate_section
from aggregate.predict.bundle import load_bundle
from aggregate.train.train import train_pipeline
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

N = 24
SICK = [i % 2 == 0 for i in range(N)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that says no tokens, over a store of `patch_mean` alone."""
    folder = tmp_path_factory.mktemp("no-cls")
    people = [f"sub-{i:02d}" for i in range(N)]
    people_store(folder / "a.zarr", people, SICK, 1, array="patch_mean")
    people_table(folder / "a.tsv", people, words(SICK))
    section = {
        "cohort": "a.tsv",
        "target": "diagnosis",
        "head": {"kind": "mean"},
        "train": {"epochs": 1},
        "folds": {"n": 3},
        "ablate": {"configurations": {"mean": {"head.kind": "mean"}}, "repeats": 2},
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "pipeline.yaml"


def resolved(study: Path, verb: str) -> Any:
    return yaml.safe_load((study.parent / "run" / verb / "config.yaml").read_text())["aggregate"]


def train(file: Path, *overrides: str) -> Any:
    loaded = load_pipeline(file, overrides)
    return train_pipeline(loaded, read_aggregate_section(loaded))


def test_train_takes_the_mean_of_patches(study: Path) -> None:
    train(study)
    assert resolved(study, "train")["tokens"] == "patch_mean"
    assert load_bundle(study.parent / "run" / "train" / "bundle").card.tokens == "patch_mean"


def test_ablate_takes_it_too_and_runs_again_as_it_is(study: Path) -> None:
    assert ablate_pipeline(load_pipeline(study)).metrics["metrics"]["auroc"]["value"] > 0.5
    assert resolved(study, "ablate")["tokens"] == "patch_mean"
    again = ablate_pipeline(load_pipeline(study.parent / "run" / "ablate" / "config.yaml"))
    assert (again.n_trained, again.n_found) == (0, 6)


def test_tokens_that_are_said_are_not_replaced(study: Path) -> None:
    with pytest.raises(ConfigError, match="the store has no array 'cls'"):
        train(study, "aggregate.tokens=cls")
    with pytest.raises(ConfigError, match="the store has no array 'cls'"):
        ablate_pipeline(load_pipeline(study, ["aggregate.tokens=cls"]))


def test_a_store_with_cls_keeps_it(study: Path, tmp_path: Path) -> None:
    people_store(tmp_path / "b.zarr", ["p1"], [True], 1)
    section = parse_section({"cohort": "a.tsv", "target": "diagnosis"})
    assert section.for_store(open_store(str(tmp_path / "b.zarr")).header).tokens == "cls"
    assert section.for_store(open_store(str(study.parent / "a.zarr")).header).tokens == "patch_mean"
