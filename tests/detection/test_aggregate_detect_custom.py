"""A stranger's detector, a file beside the pipeline, goes through detect and predict with no line of ours."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import slicecache as conductor
from aggregate.anomaly.findings import measure
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.anomaly.study.predict import predict_detectors
from aggregate.detect import detect_pipeline
from aggregate.testing.detectors import check_detector
from cache_schema.common import custom
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline, load_pipeline
from cache_schema.store.reader import open_store

LENGTHS = (9, 7, 11, 8, 9, 10, 7, 8, 9)
STRANGER = """
import torch


class FarFromMean(torch.nn.Module):
    def __init__(self, dim: int, grid: tuple[int, int], power: float = 1.0) -> None:
        super().__init__()
        self.power = power
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("total", torch.zeros(*grid, dim))

    def update(self, batch):
        self.count += len(batch)
        self.total += batch.patches.sum(0)

    def score(self, batch):
        return (batch.patches - self.total / self.count).norm(dim=3) ** self.power
"""
OWN = {"kind": "custom", "target": "stranger_detector:FarFromMean", "options": {"power": 2}}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "DRAWS", 20)


@pytest.fixture(autouse=True)
def a_process_that_knows_nobody(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every test starts as a fresh process would."""
    monkeypatch.setattr(custom, "_given", {})
    monkeypatch.setattr(custom, "_permitted", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "stranger_detector", raising=False)
    yield
    sys.modules.pop("stranger_detector", None)


def forget() -> None:
    """As another process, which has imported nothing and was told nothing."""
    custom._given.clear()
    custom._permitted.clear()
    sys.modules.pop("stranger_detector", None)


@pytest.fixture
def data(normal_store: Callable[..., Any], tmp_path: Path) -> dict[str, Any]:
    """A pipeline with the stranger's detector; its file lies beside."""
    normal_store(LENGTHS)
    rows = [f"p{place:03d}\t{'control' if place < 7 else 'patient'}" for place in range(len(LENGTHS))]
    (tmp_path / "participants.tsv").write_text("\n".join(["participant_id\tdiagnosis", *rows]) + "\n")
    (tmp_path / "stranger_detector.py").write_text(STRANGER)
    detect = {"reference": {"column": "diagnosis", "value": "control"}, "detectors": [OWN], "maps": "none"}
    return {
        "run": {"folder": "run"},
        "cache": {"store": "normal.zarr"},
        "aggregate": {"cohort": "participants.tsv", "detect": detect},
    }


@pytest.fixture
def file(data: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def scores_of(run: Path) -> pd.DataFrame:
    table = pd.read_csv(run / "scores.csv", keep_default_na=False, na_values=[""], dtype={"session_id": str})
    return table[table["detector"] == "FarFromMean"].reset_index(drop=True)


def test_the_stranger_is_short_enough():
    assert len(STRANGER.strip().splitlines()) <= 30


def test_from_yaml_by_the_command(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["slicecache"])
    assert conductor.guarded(conductor.cli.main, ["detect", str(file)]) == 0
    told = capsys.readouterr()
    assert "imported stranger_detector:FarFromMean" in told.err
    assert "FarFromMean" in told.out
    scores = scores_of(tmp_path / "run" / "detect")
    assert scores[scores["part"] != "fit"]["score"].notna().all()

    store, bundle = open_store(tmp_path / "normal.zarr"), tmp_path / "run" / "detect" / "bundle"
    forget()
    with pytest.raises(ConfigError, match="pass the class itself in Python, or say --allow-custom"):
        load_detectors(bundle)
    assert "stranger_detector" not in sys.modules
    found, _ = predict_detectors(load_detectors(bundle, allow_custom=True), store)
    assert list(found["score"].dropna()) == pytest.approx(list(scores["score"].dropna()))


def test_predict_imports_a_bundles_parts_only_if_told_to(file, tmp_path, monkeypatch, capsys):
    detect_pipeline(load_pipeline(file))
    scores = scores_of(tmp_path / "run" / "detect")
    arguments = ["predict", "run", "normal.zarr", "--json"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    forget()
    capsys.readouterr()
    assert conductor.guarded(conductor.cli.main, arguments) == 2
    assert "--allow-custom" in capsys.readouterr().err
    assert "stranger_detector" not in sys.modules
    assert conductor.guarded(conductor.cli.main, [*arguments, "--allow-custom"]) == 0
    told = capsys.readouterr()
    assert "imported stranger_detector:FarFromMean" in told.err
    found = [row["score"] for row in json.loads(told.out)["predictions"] if row["score"] is not None]
    assert found == pytest.approx(list(scores["score"].dropna()))


def test_from_python_by_the_class(data, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    import stranger_detector

    check_detector(stranger_detector.FarFromMean, power=2)
    data["aggregate"]["detect"]["detectors"] = [
        {"kind": "custom", "target": stranger_detector.FarFromMean, "options": {"power": 2}},
        stranger_detector.FarFromMean,
    ]
    with pytest.raises(ConfigError, match="two detectors are called 'FarFromMean'"):
        detect_pipeline(Pipeline(data, tmp_path))
    data["aggregate"]["detect"]["detectors"][0]["name"] = "squared"
    results = detect_pipeline(Pipeline(data, tmp_path))
    assert list(dict.fromkeys(results.detectors["detector"]))[:2] == ["squared", "FarFromMean"]
    part = stranger_detector.FarFromMean
    forget()
    bundle = load_detectors(tmp_path / "run" / "detect" / "bundle", [part])
    assert [one.name for one in bundle.fitted] == ["squared", "FarFromMean"]


def test_options_and_code_are_part_of_what_a_fit_follows_from(file, tmp_path, caplog):
    first = detect_pipeline(load_pipeline(file))
    forget()
    assert detect_pipeline(load_pipeline(file)).n_scored == 0
    forget()
    override = 'aggregate.detect.detectors=[{kind: custom, target: "stranger_detector:FarFromMean"}]'
    assert detect_pipeline(load_pipeline(file, [override])).n_scored == first.n_scored
    (tmp_path / "stranger_detector.py").write_text(STRANGER.replace("** self.power", "** self.power + 1"))
    forget()
    changed = detect_pipeline(load_pipeline(file))
    assert changed.n_scored == first.n_scored
    old, new = (table[table["detector"] == "FarFromMean"] for table in (first.scores, changed.scores))
    assert list(new["score"].dropna()) == pytest.approx([value + 1 for value in old["score"].dropna()])

    (tmp_path / "stranger_detector.py").write_text(STRANGER + "\n")
    forget()
    load_detectors(tmp_path / "run" / "detect" / "bundle", allow_custom=True)
    assert "the code of the detector FarFromMean is not what it was fitted with" in caplog.text


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("stranger_detector:Farther", "has no 'Farther'"),
        ("stranger:FarFromMean", "there is no module 'stranger'"),
    ],
)
def test_a_target_that_is_not_there_is_said_before_anything_is_read(file, target, words, tmp_path):
    override = f'aggregate.detect.detectors=[{{kind: custom, target: "{target}"}}]'
    with pytest.raises(ConfigError, match=words):
        detect_pipeline(load_pipeline(file, [override]))
    assert not (tmp_path / "run").exists()
