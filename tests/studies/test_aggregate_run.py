"""Stage two as a whole on a small made-up store: the run folder, the bundle, the null, the command."""

import html.parser
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import slicecache as conductor
from aggregate.baselines.names import BASELINES
from aggregate.cli import train_and_report
from aggregate.config.section import read_aggregate_section
from aggregate.predict.bundle import load_bundle
from aggregate.predict.predict import predict_store
from aggregate.train.terminal import training_summary
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import StoreReader

N = 31
Make = Callable[[Sequence[Any]], StoreReader]


@pytest.fixture
def project(make_store: Make, scan: type, tmp_path: Path) -> Path:
    """A store in which patients' tokens are shifted, a table, and a pipeline over them."""
    sick = [i % 2 == 0 for i in range(N)]
    make_store([scan(f"sub-{i:02d}", n_slices=2 + i % 4, shift=1.5 * s) for i, s in enumerate(sick)])
    rows = [
        f"sub-{i:02d}\t{40 + i}\t{'MF'[i % 3 == 0]}\t{'patient' if s else 'control'}"
        for i, s in enumerate(sick)
    ]
    rows += ["sub-99\t50\tM\tcontrol"]
    (tmp_path / "participants.tsv").write_text(
        "\n".join(["participant_id\tage\tsex\tdiagnosis", *rows]) + "\n"
    )
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "run": {"folder": "run"},
                "cache": {"store": "cohort.zarr"},
                "aggregate": {
                    "cohort": "participants.tsv",
                    "target": "diagnosis",
                    "train": {"epochs": 12, "learning_rate": 0.01},
                    "folds": {"n": 3, "repeats": 2},
                },
            }
        )
    )
    return file


def train(file: Path, *overrides: str, shuffle: int = 0) -> Any:
    """Train in this process."""
    loaded = load_pipeline(file, overrides)
    return train_and_report(loaded, read_aggregate_section(loaded), shuffle)


def test_the_run_folder_is_as_the_design_has_it(project: Path) -> None:
    results = train(project)
    folder = project.parent / "run" / "train"
    assert {p.name for p in folder.iterdir()} == {
        *("config.yaml", "metrics.json", "predictions.csv", "bundle", "report.html", "log.txt", "figures"),
        *("methods.md", "references.bib", "tables", "checklist.html", "requirements.lock", "report.json"),
        "products.json",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["task"] == "binary"
    assert metrics["n_participants"] == N
    assert metrics["metrics"]["auroc"]["value"] > 0.9
    assert set(metrics["baselines"]) == set(BASELINES)
    assert set(metrics["baselines"]["confounds_only"]["auroc"]) == {"value", "ci_low", "ci_high"}
    table = pd.read_csv(folder / "predictions.csv")
    head = table[table["configuration"] == "attention"]
    assert head.groupby("repeat")["participant_id"].nunique().tolist() == [N, N]
    assert any(row["participant_id"] == "sub-99" for row in results.left_out)


def test_a_folder_that_says_what_it_multiplies_by_is_obeyed(project: Path) -> None:
    folder = project.parent / "run" / "train"
    folder.mkdir(parents=True)
    (folder / "products.json").write_text('{"taken": "bfloat16"}')
    results = train(project)
    assert results.metrics["training"]["products"] == "bfloat16"
    assert (
        yaml.safe_load((folder / "config.yaml").read_text())["aggregate"]["train"]["products"] == "bfloat16"
    )
    assert (folder / "products.json").read_text() == '{"taken": "bfloat16"}'


@pytest.mark.numerics
def test_the_same_run_gives_the_same_bytes(project: Path) -> None:
    """Promised on one machine with one number of threads: the same products in the same order."""
    folder = project.parent / "run" / "train"
    train(project)
    first = {
        name: (folder / name).read_bytes() for name in ("metrics.json", "predictions.csv", "report.html")
    }
    again = load_pipeline(folder / "config.yaml")
    train_and_report(again, read_aggregate_section(again), 0)
    assert first == {name: (folder / name).read_bytes() for name in first}


@pytest.mark.numerics
def test_the_bundle_gives_the_logits_that_training_gave(project: Path, make_store: Make) -> None:
    results = train(project)
    from cache_schema.store.reader import open_store

    table = predict_store(
        load_bundle(project.parent / "run" / "train" / "bundle"), open_store(project.parent / "cohort.zarr")
    )
    own = results.predictions[results.predictions["configuration"] == "attention"]
    expected = own.groupby("participant_id")["logit_patient"].mean()
    found = table.set_index("participant_id")["logit_patient"]
    np.testing.assert_allclose(found[expected.index], expected, atol=1e-5)


def test_shuffled_labels_are_near_chance(project: Path) -> None:
    results = train(project, shuffle=9)
    null = results.metrics["null"]["auroc"]
    assert null["n"] == 9
    assert 0.35 < null["mean"] < 0.65
    assert null["p"] == pytest.approx(1 / 10)
    said = training_summary(results)
    assert "p = 0.100, the least that so few can give" in said
    assert f"; positive: {results.metrics['positive']}" in said


def test_recipes_and_losses_run_through(project: Path) -> None:
    results = train(
        project, "aggregate.recipe=dinoatten3d_sum", "aggregate.train.epochs=3", "aggregate.seeds=2"
    )
    assert results.metrics["configuration"] == "dinoatten3d_sum"
    assert results.metrics["n_seeds"] == 2
    assert results.config["aggregate"]["loss"]["class_variance"] == {"weight": 0.1, "reduction": "sum"}


def test_without_the_report_extra_no_report_is_claimed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = project.parent / "run" / "train" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("of an earlier run")
    for name in [name for name in sys.modules if name.startswith("aggregate.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert conductor.guarded(conductor.cli.main, ["train", str(project)]) == 0
    assert "no report.html" in capsys.readouterr().out
    assert not report.exists()
    assert (project.parent / "run" / "train" / "metrics.json").exists()


class Page(html.parser.HTMLParser):
    """Collects what a page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note sources."""
        self.loads += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href") and v and v[0] != "#"]
        self.loads += [tag] * (tag in ("script", "link", "iframe"))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text.append(data)


def test_the_report_is_one_file_that_loads_nothing(project: Path) -> None:
    results = train(project)
    page = Page()
    page.feed((project.parent / "run" / "train" / "report.html").read_text())
    assert [load for load in page.loads if not load.startswith("data:image/png;base64,")] == []
    text = " ".join(" ".join(page.text).split())
    value = results.metrics["metrics"]["auroc"]["value"]
    for words in (
        f"{value:.2f}",
        "Random weights.",
        "mean pooling + logistic regression",
        "in the table, not in the store",
    ):
        assert words in text, words
    assert results.content_digest in text


def test_a_site_with_one_class_is_a_red_line_and_names_are_escaped(project: Path) -> None:
    table = project.parent / "participants.tsv"
    lines = table.read_text().splitlines()
    sites = ["site", *("<b>A</b>" if line.endswith("patient") else "B" for line in lines[1:])]
    table.write_text("\n".join(f"{line}\t{site}" for line, site in zip(lines, sites, strict=True)) + "\n")
    results = train(project)
    assert results.warnings
    text = (project.parent / "run" / "train" / "report.html").read_text()
    assert "the site alone tells their label" in text
    assert "<b>A</b>" not in text
    assert "&lt;b&gt;A&lt;/b&gt;" in text


def test_the_command_prints_the_table_or_one_json_object(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conductor.guarded(conductor.cli.main, ["train", str(project)]) == 0
    printed = capsys.readouterr().out
    assert "mean_pool_logistic" in printed
    assert "attention" in printed
    assert conductor.guarded(conductor.cli.main, ["train", str(project), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_participants"] == N
    store = str(project.parent / "cohort.zarr")
    assert (
        conductor.guarded(conductor.cli.main, ["predict", str(project.parent / "run"), store, "--json"]) == 0
    )
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == N


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["train"] * 20 + ["test"] * 12, None),
        (["train"] * 20 + ["test"] * 11 + ["sideways"], "sideways"),
    ],
)
def test_a_given_split(
    project: Path, column: list[str], message: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    table = project.parent / "participants.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(f"{a}\t{b}" for a, b in zip(lines, ["part", *column], strict=True)) + "\n")
    code = conductor.guarded(conductor.cli.main, ["train", str(project), "--set", "aggregate.split=part"])
    printed = capsys.readouterr()
    if message is None:
        assert code == 0
        assert "bootstrap" in json.loads((project.parent / "run/train/metrics.json").read_text())["ci_method"]
    else:
        assert code == 2
        assert message in printed.err


def test_a_participant_on_both_sides_is_refused(
    project: Path, make_store: Make, scan: type, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.parent / "cohort.zarr").rename(project.parent / "old.zarr")
    make_store([scan(f"sub-{i // 2:02d}", session=f"ses-{i % 2}") for i in range(24)])
    rows = [
        f"sub-{i // 2:02d},ses-{i % 2},{'ab'[i // 2 % 2]},{'train' if i < 17 else 'test'}" for i in range(24)
    ]
    table = project.parent / "sessions.csv"
    table.write_text("\n".join(["participant_id,session_id,diagnosis,part", *rows]) + "\n")
    arguments = ["train", str(project), "--set", "aggregate.split=part", "--set", f"aggregate.cohort={table}"]
    assert conductor.guarded(conductor.cli.main, arguments) == 2
    printed = capsys.readouterr().err
    assert "08 (test and train)" in printed
