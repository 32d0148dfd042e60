"""A bundle that says when volumes are not like those that it was trained on, and else does not."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store, people_table, words
from made_up_store import example_draft, example_key

import slicecache
from aggregate.config.section import read_aggregate_section
from aggregate.predict.bundle import Bundle, load_bundle, save_bundle
from aggregate.predict.familiarity import LEVEL
from aggregate.predict.predict import Predicted, predict_and_compare, predict_store
from aggregate.train.train import train_pipeline
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

TRAINED = 46
NEW = ["distance", "typical_p", "flag", "unlike"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training, and a cohort drawn alike."""
    folder = tmp_path_factory.mktemp("familiar")
    here, sick = [f"a{i:02d}" for i in range(TRAINED)], [i % 2 == 0 for i in range(TRAINED)]
    people_store(folder / "a.zarr", here, sick, 1, effect=3.0)
    people_table(folder / "a.tsv", here, words(sick))
    section = {
        "cohort": "a.tsv",
        "target": "diagnosis",
        "train": {"epochs": 3},
        "baselines": [],
        "seeds": 2,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    loaded = load_pipeline(folder / "pipeline.yaml")
    train_pipeline(loaded, read_aggregate_section(loaded))
    people_store(folder / "b.zarr", *drawn(40), 2, effect=3.0)
    return folder


def drawn(n: int, every: int = 2) -> tuple[list[str], list[bool]]:
    """People that training does not know."""
    return [f"b{i:02d}" for i in range(n)], [i % every == 0 for i in range(n)]


def predicted(folder: Path, store: Path) -> Predicted:
    return predict_and_compare(load_bundle(folder / "run" / "train" / "bundle"), open_store(str(store)))


def test_a_cohort_drawn_alike_is_not_warned_of(folder: Path) -> None:
    found = predicted(folder, folder / "b.zarr")
    table, summary = found.table, found.comparison.summary
    assert list(table)[-4:] == NEW
    assert list(table)[:4] == ["participant_id", "session_id", "volume_id", "members"]
    assert not found.comparison.warnings
    assert (table["unlike"] == "").all()
    assert ((table["typical_p"] <= LEVEL) == (table["flag"] == "atypical")).all()
    assert summary["flagged"] == (table["flag"] == "atypical").sum() <= 8
    assert summary["expected"] == pytest.approx(2 / 47)
    assert 0.7 < table["distance"].median() < 1.4
    assert "of a cohort drawn alike 4.3% are" in found.comparison.notes[0]


def test_tokens_of_another_kind_are_flagged_and_said(folder: Path, tmp_path: Path) -> None:
    people_store(tmp_path / "moved.zarr", *drawn(12), 3, shift=4.0)
    people_store(tmp_path / "smooth.zarr", *drawn(12), 4, noise=0.05)
    for name in ("moved", "smooth"):
        found = predicted(folder, tmp_path / f"{name}.zarr")
        assert (found.table["flag"] == "atypical").all(), name
        assert found.comparison.summary["p"] < 1e-6
        assert "12 of 12 participants are flagged" in found.comparison.warnings[0]


def test_another_spacing_contrast_and_foreground_are_said(folder: Path, tmp_path: Path) -> None:
    draft = example_draft(example_key(0), 6)
    other = {
        "entities": draft.entities.model_copy(update={"contrast": "T2w"}),
        "foreground": draft.foreground.model_copy(update={"kind": "stripped"}),
    }
    people_store(tmp_path / "other.zarr", *drawn(5), 5, spacing_mm=5.0, **other)
    found = predicted(folder, tmp_path / "other.zarr")
    said = " / ".join(found.comparison.warnings)
    for part in (
        "5 of 5 volumes have contrast T2w; training had T1w",
        "have foreground stripped; training had head",
        "have slice distance (mm) 5; training had 2",
        "have voxel size across (mm) 2.5; training had 1",
    ):
        assert part in said
    assert "contrast; foreground" in found.table["unlike"].iloc[0]


def test_a_little_more_is_not_another_spacing(folder: Path, tmp_path: Path) -> None:
    people_store(tmp_path / "near.zarr", *drawn(5), 6, spacing_mm=2.1)
    assert (predicted(folder, tmp_path / "near.zarr").table["unlike"] == "").all()


def test_other_people_shift_the_scores(folder: Path, tmp_path: Path) -> None:
    people_store(tmp_path / "ill.zarr", *drawn(60, every=1), 7, effect=3.0)
    found = predicted(folder, tmp_path / "ill.zarr")
    assert found.comparison.summary["scores"]["p"] < 0.01
    assert any("not distributed as the training's out-of-fold scores" in w for w in found.comparison.warnings)
    assert predicted(folder, folder / "b.zarr").comparison.summary["scores"]["p"] > 0.01


def test_sessions_are_flagged_each_and_people_counted_once(folder: Path, tmp_path: Path) -> None:
    people_store(tmp_path / "visits.zarr", *drawn(6), 8, sessions=3)
    found = predicted(folder, tmp_path / "visits.zarr")
    assert len(found.table) == 18
    assert found.comparison.summary["n_participants"] == 6


def test_the_trainings_own_are_held_against_the_others(folder: Path) -> None:
    found = predicted(folder, folder / "a.zarr")
    assert found.comparison.summary["n_participants"] == 0
    assert found.comparison.notes == ("all participants were in training: each was held against the others",)
    assert (found.table["flag"] == "atypical").sum() <= LEVEL * TRAINED
    # Of 46, down to those whose hands have an odd number of people: the middle ones of these are alike.
    assert sorted(np.round(found.table["typical_p"] * 47))[:20] == list(range(2, 22))


def test_a_bundle_of_before_says_that_it_does_not_know(folder: Path) -> None:
    bundle = load_bundle(folder / "run" / "train" / "bundle")
    card = bundle.card.model_copy(update={"familiar": None})
    found = predict_and_compare(Bundle(card, bundle.states), open_store(str(folder / "b.zarr")))
    whole = predicted(folder, folder / "b.zarr").table
    pd.testing.assert_frame_equal(found.table, whole.drop(columns=NEW))
    assert "from before" in found.comparison.lines()[0]


def test_too_few_to_flag_anybody_is_said(folder: Path, tmp_path: Path) -> None:
    few = [f"a{i:02d}" for i in range(16)]
    people_table(tmp_path / "few.tsv", few, words([i % 2 == 0 for i in range(16)]))
    overrides = [f"aggregate.cohort={tmp_path / 'few.tsv'}", f"run.folder={tmp_path / 'run'}"]
    loaded = load_pipeline(folder / "pipeline.yaml", overrides)
    train_pipeline(loaded, read_aggregate_section(loaded))
    found = predicted(tmp_path, folder / "b.zarr")
    assert found.table["typical_p"].isna().all()
    assert "16 participants, too few for a flag" in " ".join(found.comparison.notes)


def test_what_is_kept_is_small_and_nobodys_tokens(folder: Path, tmp_path: Path) -> None:
    bundle = load_bundle(folder / "run" / "train" / "bundle")
    familiar = bundle.familiar
    assert familiar is not None
    shapes = {name: tuple(value.shape) for name, value in familiar.tensors().items()}
    assert all(TRAINED not in shape for shape in shapes.values())
    assert len(familiar.scores) == 5  # one repeat and seed, though there are two seeds
    save_bundle(tmp_path, bundle)
    again = load_bundle(tmp_path).familiar
    assert again is not None
    assert again.card == familiar.card
    for name, value in familiar.tensors().items():
        assert value.equal(again.tensors()[name])


def test_the_command_says_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people_store(tmp_path / "moved.zarr", *drawn(9), 3, shift=4.0)
    given = ["predict", str(folder / "run"), str(tmp_path / "moved.zarr")]
    assert slicecache.guarded(slicecache.cli.main, given) == 0
    assert "WARNING: 9 of 9 participants are flagged as atypical" in capsys.readouterr().err
    assert slicecache.guarded(slicecache.cli.main, [*given, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["familiarity"]["flagged"] == 9
    assert said["predictions"][0]["flag"] == "atypical"


def test_python_is_warned_by_its_log(folder: Path, tmp_path: Path, caplog: Any) -> None:
    people_store(tmp_path / "moved.zarr", *drawn(9), 3, shift=4.0)
    with caplog.at_level(logging.WARNING, "slicecache"):
        predict_store(
            load_bundle(folder / "run" / "train" / "bundle"), open_store(str(tmp_path / "moved.zarr"))
        )
    assert "9 of 9 participants are flagged" in caplog.text


def test_evaluate_tells_it_beside_its_numbers(folder: Path, tmp_path: Path, capsys) -> None:
    people, sick = drawn(20)
    people_store(tmp_path / "moved.zarr", people, sick, 3, shift=4.0, spacing_mm=5.0)
    people_table(tmp_path / "moved.tsv", people, words(sick))
    given = ["--store", str(tmp_path / "moved.zarr"), "--cohort", str(tmp_path / "moved.tsv")]
    run = ["--run", str(tmp_path / "run")]
    assert slicecache.guarded(slicecache.cli.main, ["evaluate", str(folder / "run"), *given, *run]) == 0
    place = tmp_path / "run" / "evaluate"
    metrics = json.loads((place / "metrics.json").read_text())
    assert metrics["familiarity"]["flagged"] == 20
    assert any("slice distance" in sentence for sentence in metrics["warnings"])
    assert set(NEW) <= set(pd.read_csv(place / "predictions.csv"))
    assert "a cohort like the training" in (place / "report.html").read_text()
    assert "WARNING: 20 of 20 participants are flagged" in capsys.readouterr().out


@pytest.mark.slow
def test_real_heads_of_another_kind_and_resolution_are_flagged(shared_data: Path, tmp_path: Path) -> None:
    """Brains at 2 mm are trained on; others of them keep the rate, native ones and heads do not."""
    sub = sorted(path.name for path in (shared_data / "ds002748-2mm").glob("sub-*"))
    brains = {f"{name}": image(shared_data / "ds002748-2mm", name) for name in sub[:28]}
    native = sorted(path.name for path in (shared_data / "ds002748-native").glob("sub-*"))[-3:]
    sharp = {name: image(shared_data / "ds002748-native", name) for name in native}
    heads = {f"h{i}": path for i, path in enumerate(sorted((shared_data / "ixi-2mm").glob("*.nii.gz"))[:3])}
    for name, volumes in (("brains", brains), ("sharp", sharp), ("heads", heads)):
        embed(tmp_path, name, volumes)
    rows = pd.read_csv(shared_data / "ds002748-2mm" / "participants.tsv", sep="\t")
    learnt = rows[rows["participant_id"].isin(sub[:24])]
    learnt.to_csv(tmp_path / "brains.csv", index=False)
    loaded = load_pipeline(tmp_path / "brains.yaml")
    train_pipeline(loaded, read_aggregate_section(loaded))
    bundle = load_bundle(tmp_path / "run" / "train" / "bundle")
    found = {
        name: predict_and_compare(bundle, open_store(str(tmp_path / f"{name}.zarr")))
        for name in ("brains", "sharp", "heads")
    }
    strangers = found["brains"].table["participant_id"].isin(sub[24:28])
    assert (found["brains"].table.loc[strangers, "flag"] == "atypical").sum() <= 1
    for name in ("sharp", "heads"):
        assert (found[name].table["flag"] == "atypical").all(), found[name].table["typical_p"]
    assert "slice distance (mm)" in found["sharp"].table["unlike"].iloc[0]
    assert "foreground" in found["heads"].table["unlike"].iloc[0]


def image(root: Path, name: str) -> Path:
    return next((root / name).rglob("*_T1w.nii.gz"))


def embed(folder: Path, name: str, volumes: dict[str, Path]) -> None:
    """A store of some images, by the tiny backbone with random weights."""
    rows = [f"{who},{path}" for who, path in volumes.items()]
    (folder / f"{name}-files.csv").write_text("\n".join(["participant_id,path", *rows]) + "\n")
    backbone = {"kind": "untrained", "size": "tiny", "seed": 0}
    section = {"input": {"manifest": f"{name}-files.csv"}, "backbone": backbone, "tokens": ["cls"]}
    study = {"cohort": f"{name}.csv", "target": "sex", "train": {"epochs": 3}, "baselines": []}
    data = {"run": {"folder": "run"}, "cache": {"store": f"{name}.zarr"}}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**data, "extract": section, "aggregate": study}))
    assert slicecache.guarded(slicecache.cli.main, ["extract", str(file)]) == 0
