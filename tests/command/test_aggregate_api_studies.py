"""The studies from Python: the command's numbers, from every form of config, and nothing written unasked."""

import copy
import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import slicecache as sc
from aggregate.baselines.names import BASELINES
from aggregate.config.section import read_aggregate_section
from aggregate.present import present_training
from aggregate.train.train import train_pipeline
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import StoreReader

N = 24
Make = Callable[[Sequence[Any]], StoreReader]
TRAIN = {"epochs": 8, "learning_rate": 0.01}
SECTION = {"target": "diagnosis", "train": TRAIN, "folds": {"n": 3}}
ABLATE = {
    "reference": "mean",
    "configurations": {"mean": {"head.kind": "mean"}, "attention": {"head.kind": "attention"}},
    "repeats": 1,
}


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, home and temporary directory, which must be empty at the end, too."""
    places = {name: tmp_path / name for name in ("cwd", "home", "temporary")}
    for place in places.values():
        place.mkdir()
    monkeypatch.chdir(places["cwd"])
    monkeypatch.setenv("HOME", str(places["home"]))
    monkeypatch.setattr(tempfile, "tempdir", str(places["temporary"]))
    yield tmp_path
    gc.collect()
    for place in places.values():
        assert not list(place.rglob("*")), f"something was left in {place.name}"


@pytest.fixture
def file(store: str, table: pd.DataFrame, tmp_path: Path) -> Path:
    """The same as a pipeline file."""
    table.to_csv(tmp_path / "table.csv", index=False)
    section = {"cohort": "table.csv", **SECTION, "ablate": ABLATE}
    data = {"run": {"folder": "run"}, "cache": {"store": "cohort.zarr"}, "aggregate": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "pipeline.yaml"


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_training_leaves_nothing_and_says_everything(clean: Path, store: str, table: pd.DataFrame) -> None:
    found = sc.train(SECTION, store=store, cohort=table)
    assert found.folder is None
    assert found.metrics["n_participants"] == N
    assert found.table.loc["attention", "auroc"] == found.metrics["metrics"]["auroc"]["value"]
    assert set(found.table.index) == {"attention", *BASELINES}
    assert found.predictions["participant_id"].nunique() == N
    assert len(found.bundle.states) == 3
    assert "attention" in repr(found)
    assert "<table" in found._repr_html_()
    assert "temporary" not in repr(found)


def test_every_form_of_config_gives_what_the_command_gives(
    clean: Path, store: str, table: pd.DataFrame, file: Path
) -> None:
    pipeline = load_pipeline(file)
    command = train_pipeline(pipeline, read_aggregate_section(pipeline))
    data = yaml.safe_load(file.read_text())
    data["aggregate"]["cohort"] = str(file.parent / "table.csv")
    data["cache"]["store"] = store
    for found in (
        sc.train(file),
        sc.train(str(file)),
        sc.train(data),
        sc.train(SECTION, store=sc.open(store), cohort=file.parent / "table.csv"),
        sc.train(store=store, cohort=table, **SECTION),
    ):
        pd.testing.assert_frame_equal(found.predictions, command.predictions)
        assert found.metrics == command.metrics


def test_with_a_folder_the_files_are_the_commands(file: Path, tmp_path: Path) -> None:
    command = train_pipeline(load_pipeline(file), read_aggregate_section(load_pipeline(file)))
    present_training(command, tmp_path / "run")
    given = sc.train(file, folder=tmp_path / "given")
    saved = sc.train(file).save(tmp_path / "saved")
    assert given.folder == tmp_path / "given"
    assert given.config["run"]["folder"] == str(tmp_path / "given")
    for folder in (given.folder, saved):
        assert files_of(folder) == files_of(tmp_path / "run")
        relative = command.folder.relative_to(tmp_path / "run")
        for name in ("predictions.csv", "metrics.json"):
            own = (folder / relative / name).read_bytes()
            assert own == (tmp_path / "run" / relative / name).read_bytes()
        config = yaml.safe_load((folder / relative / "config.yaml").read_text())
        assert config["run"]["folder"] == str(folder)
    with pytest.raises(sc.ConfigError, match="not empty"):
        given.save(saved)


def test_a_saved_table_goes_along(store: str, table: pd.DataFrame, tmp_path: Path) -> None:
    folder = sc.train(SECTION, store=store, cohort=table).save(tmp_path / "saved")
    (config,) = folder.rglob("config.yaml")
    assert yaml.safe_load(config.read_text())["aggregate"]["cohort"] == str(folder / "cohort.csv")
    again = sc.train(config)
    assert again.metrics["n_participants"] == N


def test_a_copied_result_keeps_its_numbers_and_owns_no_files(
    clean: Path, store: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    found = sc.train(SECTION, store=store, cohort=table)
    again = copy.deepcopy(found)
    assert again.metrics == found.metrics
    del again
    gc.collect()
    found.save(tmp_path / "saved")
    again = copy.deepcopy(found)
    del found
    gc.collect()
    with pytest.raises(sc.ConfigError, match="save it in the process that made it"):
        again.save(tmp_path / "other")


def test_the_callers_mapping_stays_as_it_is(clean: Path, store: str, table: pd.DataFrame) -> None:
    section = {**SECTION, "train": dict(TRAIN)}
    before = repr(section)
    found = sc.train(section, store=store, cohort=table, head={"kind": "mean"})
    assert found.metrics["configuration"] == "mean"
    assert repr(section) == before


def test_a_prediction_is_the_bundles(clean: Path, store: str, table: pd.DataFrame, file: Path) -> None:
    found = sc.train(SECTION, store=store, cohort=table)
    for place in (store, sc.open(store), sc.open(store).reader):
        predicted = sc.predict(found, place)
        assert predicted["participant_id"].tolist() == table["participant_id"].tolist()
    own = found.predictions[found.predictions["configuration"] == "attention"].sort_values("participant_id")
    np.testing.assert_allclose(predicted["logit_patient"], own["logit_patient"], atol=1e-5)
    with pytest.raises(sc.ConfigError, match="maps"):
        sc.predict(found, store, maps="maps")


def test_a_bundle_in_a_folder_predicts_the_same(file: Path, store: str, tmp_path: Path) -> None:
    found = sc.train(file, folder=tmp_path / "given")
    (card,) = (tmp_path / "given").rglob("bundle.json")
    for place in (card.parent, tmp_path / "given"):
        pd.testing.assert_frame_equal(sc.predict(place, store), sc.predict(found.bundle, store))


def test_an_ablation_leaves_nothing_and_has_a_row_per_configuration(clean: Path, file: Path) -> None:
    found = sc.ablate(file)
    assert {"mean", "attention", "mean_pool_logistic"} <= set(found.table["configuration"])
    assert set(found.predictions["configuration"]) >= {"mean", "attention"}
    assert found.predictions["participant_id"].map(len).eq(3).all(), "leading zeros were lost"
    assert found.metrics["ablation"]["reference"] == "mean"


def test_an_ablation_with_a_folder_goes_on_where_it_was(file: Path, tmp_path: Path) -> None:
    first = sc.ablate(file, folder=tmp_path / "given")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "given").rglob("*.safetensors")}
    assert stamps, "there is no journal"
    again = sc.ablate(file, folder=tmp_path / "given")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    pd.testing.assert_frame_equal(first.predictions, again.predictions)


def test_a_mistake_leaves_nothing_either(clean: Path, store: str, table: pd.DataFrame) -> None:
    with pytest.raises(sc.ConfigError, match="did you mean 'target'"):
        sc.train({"targt": "diagnosis"}, store=store, cohort=table)
    with pytest.raises(sc.SlicecacheError, match="diagnosed"):
        sc.train({"target": "diagnosed"}, store=store, cohort=table)
    with pytest.raises(sc.ConfigError, match="not list"):
        sc.train([SECTION], store=store)  # type: ignore[arg-type]


@pytest.fixture
def normals(normal_store: Callable[..., StoreReader]) -> str:
    """Twelve volumes of which four are odd."""

    def odd(arrays: dict[str, Any], place: int) -> None:
        arrays["patches"][1:3] += 3 * (place >= 8)

    return normal_store((5, 4, 6, 5, 4, 5, 6, 4, 5, 5, 4, 6), change=odd).location


def test_a_detection_leaves_nothing_and_its_bundle_predicts(clean: Path, normals: str) -> None:
    people = sc.open(normals).volumes["participant_id"]
    cohort = pd.DataFrame({"participant_id": people, "diagnosis": ["control"] * 8 + ["patient"] * 4})
    part = {
        "reference": {"column": "diagnosis", "value": "control"},
        "detectors": [{"kind": "mahalanobis", "shrinkage": 0.1}],
    }
    found = sc.detect(detect=part, store=normals, cohort=cohort)
    assert set(found.table["detector"]) == {"mahalanobis", "position", "intensity"}
    assert set(found.predictions["part"]) == {"fit", "calibration", "test", "other"}
    assert found.bundle is not None
    again = sc.predict(found, normals)
    own = found.predictions[found.predictions["detector"] == "mahalanobis"]
    assert len(again) == len(own) == 12
    np.testing.assert_allclose(again["score"], own["score"], rtol=1e-4)
