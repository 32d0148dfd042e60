"""Four classes whose effect is graded: what is said of each, of each two, and who is called what."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store, people_table
from sklearn.metrics import confusion_matrix, roc_auc_score

import slicecache
from aggregate.ablate.ablate import ablate_pipeline
from aggregate.ablate.terminal import ablation_summary
from aggregate.cli import train_and_report
from aggregate.config.section import read_aggregate_section
from aggregate.train.terminal import training_summary
from cache_schema.common.pipeline_file import load_pipeline

LOOKS_AT_FIGURES = True

N = 52
CLASSES = ("healthy", "migraine", "acute", "persistent")
GRADES = [i % 4 for i in range(N)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline over a store in which one number of the tokens grows with the class."""
    folder = tmp_path_factory.mktemp("several")
    names = [f"sub-{i:02d}" for i in range(N)]
    people_store(folder / "a.zarr", names, GRADES, 1, effect=1.2)
    people_table(folder / "a.tsv", names, [CLASSES[grade] for grade in GRADES])
    section = {
        "cohort": "a.tsv",
        "target": {"column": "diagnosis", "classes": {name: [name] for name in CLASSES}},
        "train": {"epochs": 5, "learning_rate": 0.01},
        "folds": {"n": 3, "repeats": 2},
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "pipeline.yaml"


def train(file: Path, *overrides: str) -> Any:
    loaded = load_pipeline(file, overrides)
    return train_and_report(loaded, read_aggregate_section(loaded), 0)


@pytest.fixture(scope="module")
def trained(study: Path) -> Any:
    """Trained once."""
    return train(study)


def test_every_class_and_pair_has_an_interval(trained) -> None:
    metrics = json.loads((trained.folder / "metrics.json").read_text())
    assert list(metrics["per_class"]) == list(CLASSES)
    for row in metrics["per_class"].values():
        assert row["n"] == N / 4
        assert row["auroc"]["ci_low"] < row["auroc"]["value"] < row["auroc"]["ci_high"]
    assert [row["classes"] for row in metrics["pairwise"]][-1] == ["acute", "persistent"]
    assert len(metrics["pairwise"]) == 6
    far = next(row for row in metrics["pairwise"] if row["classes"] == ["healthy", "persistent"])
    assert far["auroc"]["value"] > 0.9 > metrics["pairwise"][0]["auroc"]["value"]
    mean = np.mean([row["hand_till"]["value"] for row in metrics["pairwise"]])
    assert metrics["metrics"]["auroc_pairwise"]["value"] == pytest.approx(mean)
    assert metrics["metrics"]["balanced_accuracy"]["ci_low"] is not None
    assert metrics["baselines"]["mean_pool_logistic"]["auroc_pairwise"]["value"] > 0.7


def test_losses_by_epoch_and_the_confusion_are_drawn(trained) -> None:
    table = pd.read_csv(trained.folder / "figures" / "learning.csv")
    runs = table.groupby(["repeat", "fold", "seed"])
    assert runs["epoch"].max().tolist() == [5] * 6
    assert runs["kept"].sum().tolist() == [1] * 6
    assert table["train_loss"].notna().sum() == 30
    report = (trained.folder / "report.html").read_text()
    assert report.count("By epoch, of 6 runs") == 1
    for name, words in (("learning", "training loss"), ("confusion", "healthy called migraine")):
        assert words in (trained.folder / "figures" / f"{name}.svg").read_text()


def test_the_numbers_are_those_of_the_predictions(trained) -> None:
    metrics, table = trained.metrics, trained.predictions
    head = table[table["configuration"] == "attention"]
    p = head[[f"p_{name}" for name in CLASSES]].to_numpy()
    y = head["y"].map(CLASSES.index).to_numpy()
    counts = confusion_matrix(y, p.argmax(1)) / 2  # two repeats
    np.testing.assert_allclose(metrics["confusion"]["counts"], counts, atol=1e-6)
    assert np.sum(metrics["confusion"]["counts"]) == pytest.approx(N)
    written = pd.read_csv(trained.folder / "figures" / "confusion.csv")
    assert written["participants"].to_numpy().reshape(4, 4) == pytest.approx(counts)
    assert set(written["mean_over"]) == {"2 repeats"}
    assert "participants, mean over 2 repeats" in (trained.folder / "figures" / "confusion.svg").read_text()
    assert "Counts are a mean over 2 repeats" in (trained.folder / "report.html").read_text()
    assert "called (mean over 2 repeats)." in (trained.folder / "tables" / "confusion.tex").read_text()
    assert (trained.folder / "tables" / "confusion.csv").read_text().startswith("mean over 2 repeats,")
    within = [
        roc_auc_score(y[rows], p[rows], multi_class="ovo")
        for rows in head.reset_index().groupby(["repeat", "fold"]).indices.values()
    ]
    assert metrics["metrics"]["auroc_pairwise"]["value"] == pytest.approx(np.mean(within), abs=1e-9)


def test_terminal_and_report_say_it(trained) -> None:
    told = training_summary(trained)
    assert "auroc against the rest" in told
    assert "acute and persistent" in told
    assert "label \\ called" in told
    page = (trained.folder / "report.html").read_text()
    assert "Who is called what" in page
    assert '<th scope="row">persistent</th>' in page
    assert "Hand and Till" in page


def test_labels_that_act_are_shown_as_text(study, tmp_path) -> None:
    odd = {"<b>a</b>": ["healthy"], "b" * 300: ["migraine"], "c\u202e": ["acute", "persistent"]}
    text = yaml.safe_load(study.read_text())
    text["aggregate"]["target"]["classes"] = odd
    text["aggregate"] |= {"cohort": str(study.parent / "a.tsv")}
    text["cache"]["store"] = str(study.parent / "a.zarr")
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    found = train(tmp_path / "odd.yaml")
    page = (found.folder / "report.html").read_text()
    assert "<b>a</b>" not in page
    assert "\u202e" not in page
    assert "\u202e" not in training_summary(found)
    assert max(map(len, training_summary(found).splitlines())) < 1000


def test_the_command_takes_it(study, tmp_path, capsys) -> None:
    run = ["train", str(study), "--set", f"run.folder={tmp_path / 'run'}", "--json"]
    assert slicecache.guarded(slicecache.cli.main, run) == 0
    assert len(json.loads(capsys.readouterr().out)["per_class"]) == 4


def test_an_ablation_says_that_it_trains_no_pairs(study, tmp_path) -> None:
    configurations = "aggregate.ablate={configurations: {mean: {head.kind: mean}}, repeats: 2}"
    few = [f"run.folder={tmp_path}", "aggregate.target.pairs=all", "aggregate.train.epochs=1"]
    told = ablation_summary(ablate_pipeline(load_pipeline(study, [configurations, *few])))
    assert told.count("WARNING: target.pairs is for train: ") == 1
    assert "none was trained on two alone" in told
