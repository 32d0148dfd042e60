"""Each verb owns its folder of the run folder; the index says what is there, and predict finds its bundle."""

import html.parser
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

import slicecache
from aggregate.common.run_folder import find_bundle
from cache_schema.common.errors import ConfigError
from cache_schema.store.reader import StoreReader

N = 24


@pytest.fixture
def project(normal_store: Callable[..., StoreReader], tmp_path: Path) -> Path:
    """One pipeline with a target, a grid and detectors over one store."""
    normal_store([4 + place % 4 for place in range(N)])
    rows = [f"p{place:03d}\t{'patient' if place % 2 else 'control'}" for place in range(N)]
    (tmp_path / "participants.tsv").write_text("\n".join(["participant_id\tdiagnosis", *rows]) + "\n")
    aggregate = {
        "cohort": "participants.tsv",
        "target": "diagnosis",
        "tokens": "cls",
        "train": {"epochs": 2},
        "folds": {"n": 2},
        "ablate": {
            "configurations": {"mean": {"head.kind": "mean"}, "abmil": {"head.hidden": 3}},
            "reference": "mean",
            "primary": [["abmil", "mean"]],
            "repeats": 2,
        },
        "detect": {
            "reference": {"column": "diagnosis", "value": "control"},
            "detectors": [{"kind": "mahalanobis"}],
            "maps": "none",
        },
    }
    data = {"run": {"folder": "a run"}, "cache": {"store": "normal.zarr"}, "aggregate": aggregate}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "pipeline.yaml"


def call(*arguments: Any) -> int:
    return slicecache.guarded(slicecache.cli.main, [str(word) for word in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Links(html.parser.HTMLParser):
    """Collects addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.to: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.to += [str(value) for name, value in attrs if name in ("href", "src")]
        assert tag not in ("script", "link", "iframe", "img")

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def read_index(run: Path) -> Links:
    page = Links()
    page.feed((run / "index.html").read_text())
    for address in (to for to in page.to if to[0] != "#"):
        assert (run / unquote(address)).exists(), address
    page.text = " ".join(page.text.split())
    return page


def test_no_verb_touches_another_ones_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, seen = project.parent / "a run", {}
    for verb in ("train", "ablate", "detect"):
        assert call(verb, project) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"index: {run / 'index.html'}"
        assert {name for name in contents(run / verb) if "/" not in name} >= {
            *("config.yaml", "metrics.json", "report.html", "log.txt")
        }
        assert {path.name for path in run.iterdir()} == {*seen, verb, "index.html"}
        for before, files in seen.items():
            assert contents(run / before) == files, (verb, before)
        seen[verb] = contents(run / verb)
    page = read_index(run)
    assert {"train/report.html", "ablate/report.html", "detect/report.html"} <= set(page.to)
    assert {"train/bundle/", "ablate/ablation.csv", "detect/detectors.csv"} <= set(page.to)
    auroc = json.loads((run / "train" / "metrics.json").read_text())["metrics"]["auroc"]["value"]
    for words in (f"{auroc:.2f}", "configurations 2", "volume AUROC, mahalanobis", "mean pooling"):
        assert words in page.text, words

    store = project.parent / "normal.zarr"
    assert call("predict", run, store) == 2
    said = capsys.readouterr().err
    assert str(run / "train" / "bundle") in said
    assert str(run / "detect" / "bundle") in said
    for place, column in (("train", "logit_patient"), ("detect/bundle", "detector")):
        assert call("predict", run / place, store, "--json") == 0
        assert column in json.loads(capsys.readouterr().out)["predictions"][0]


def test_run_folders_of_before_are_read_and_listed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", project, "--json") == 0
    run, old = project.parent / "a run", project.parent / "old"
    shutil.copytree(run / "train", old)
    store = project.parent / "normal.zarr"
    capsys.readouterr()
    tables = []
    for place in (run, old, old / "bundle"):
        assert call("predict", place, store) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] == tables[2]
    assert call("detect", project, "--set", "run.folder=old") == 0
    page = read_index(old)
    assert {"detect/report.html", "report.html", "bundle/"} <= set(page.to)
    assert "as older versions left it" in page.text
    with pytest.raises(ConfigError, match="holds 2 bundles"):
        find_bundle(old)


def test_an_unfinished_or_odd_verb_is_listed_as_such(project: Path) -> None:
    assert call("train", project) == 0
    run = project.parent / "a run"
    (run / "ablate" / "journal").mkdir(parents=True)
    (run / "detect").mkdir()
    (run / "detect" / "metrics.json").write_text('{"metrics": 3}')
    (run / "failures.tsv").write_text("participant_id\n")
    assert call("train", project) == 0
    assert "failures.tsv" not in read_index(run).to  # nobody failed
    (run / "failures.tsv").write_text("participant_id\nsub-1\n")
    assert call("train", project) == 0
    page = read_index(run)
    assert "Not finished" in page.text
    assert "metrics.json cannot be read" in page.text
    assert "failures.tsv" in page.to


def test_what_holds_no_bundle_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no bundle: there is no bundle\.json in it"):
        find_bundle(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        find_bundle(tmp_path / "absent")


HEAD = """
from torch import nn


class Own(nn.Module):
    pass
"""


def test_custom_parts_of_a_bundle_need_a_word(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aggregate.common.run_folder import permit_bundle
    from cache_schema.common.custom import resolve

    bundle = project.parent / "bundle"
    bundle.mkdir()
    card = {"head": {"kind": "custom", "target": "own_of_bundle:Own"}, "training": {"target": "other:Thing"}}
    (bundle / "bundle.json").write_text(json.dumps(card))
    (project.parent / "own_of_bundle.py").write_text(HEAD)
    monkeypatch.chdir(project.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ConfigError, match="--allow-custom"):
        resolve("own_of_bundle:Own", "head")
    permit_bundle(bundle)
    assert resolve("own_of_bundle:Own", "head").__name__ == "Own"
    assert "imported own_of_bundle:Own" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--allow-custom"):
        resolve("other:Thing", "head")
