"""Ready files of `docs/`: they read as they stand, and the comparison of all systems runs on a few people."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

import slicecache
from aggregate.ablate.grid.expand import expand
from aggregate.anomaly.detectors.registry import DETECTORS
from aggregate.config.section import read_aggregate_section, read_detect_section
from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.registry import HEADS
from cache_schema.common.pipeline_file import load_pipeline
from extract.cli import read_extract_section
from extract.simulate.tree import simulate_tree

DOCS = Path(__file__).parents[2] / "docs"
TRAINED = ("dinoatten3d-adni", "dinoatten3d-headache", "dinoatten3d-losses", "headache", "systems")


@pytest.mark.parametrize("name", TRAINED)
def test_a_study_reads_as_it_stands(name: str) -> None:
    pipeline = load_pipeline(DOCS / f"{name}.yaml")
    section = read_aggregate_section(pipeline)
    if section.ablate is not None:
        expand(pipeline.data["aggregate"])
    if "extract" in pipeline.data:
        read_extract_section(pipeline)


def test_the_files_of_dinoatten3d_have_every_pair_of_its_cohorts() -> None:
    target = read_aggregate_section(load_pipeline(DOCS / "dinoatten3d-adni.yaml")).target
    assert target.pairs == (("NL", "MCI"), ("NL", "AD"), ("MCI", "AD"))
    assert list(target.classes) == ["NL", "MCI", "AD"]
    four = read_aggregate_section(load_pipeline(DOCS / "dinoatten3d-headache.yaml")).target
    assert four.pairs == "all"
    assert len(four.classes) == 4


def test_all_heads_and_detectors_are_compared() -> None:
    study = expand(load_pipeline(DOCS / "systems.yaml").data["aggregate"])
    kinds = {configuration.setup.head.kind for configuration in study.configurations}
    assert kinds == {head.model_fields["kind"].default for head in HEADS if head is not CustomHeadSpec}
    detect = read_detect_section(load_pipeline(DOCS / "systems-detect.yaml"))[1]
    ours = {spec.model_fields["kind"].default for spec in DETECTORS if not spec.baseline} - {"custom"}
    assert {spec.kind for spec in detect.detectors} == ours


def small(tmp_path: Path, name: str, **extract: object) -> Path:
    """A file of `docs/` for the cohort beside it, with few and small slices."""
    data = yaml.safe_load((DOCS / f"{name}.yaml").read_text())
    data["run"]["folder"], data["cache"]["store"] = "run", "cache.zarr"
    data["extract"] |= {"input": {"bids": "cohort", "suffix": "T1w"}, "canvas": 28, "workers": 0, **extract}
    data["aggregate"]["cohort"] = "cohort/participants.tsv"
    data["extract"]["backbone"] = {"kind": "untrained", "size": "tiny", "seed": 0}
    for name in ("main", "dinoatten3d"):
        data["extract"].get("stores", {}).get(name, {})["slices"] = {"kind": "uniform", "n": 6}
    ablate, detect = (data["aggregate"].get(name, {}) for name in ("ablate", "detect"))
    for given in ablate.get("configurations", {}).values():
        given |= {"train.epochs": 1}
        if given.get("recipe") == "mst" and "head.kind" not in given:
            given |= {"head.heads": 8}  # of 128 numbers
    for spec in detect.get("detectors", ()):
        spec |= {"dpmm": {"components": 20, "epochs": 2}, "spatial_ar": {"epochs": 1}}.get(spec["kind"], {})
    ablate["repeats"], data["aggregate"]["folds"] = 1, {"n": 2}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return tmp_path / "pipeline.yaml"


def command(*given: str) -> None:
    assert slicecache.guarded(slicecache.cli.main, list(given)) == 0


@pytest.mark.slow
def test_every_system_on_one_cohort(tmp_path: Path) -> None:
    simulate_tree(tmp_path / "cohort", 8, coarseness=5.0, workers=1)
    file = small(tmp_path, "systems")
    command("extract", str(file))
    command("ablate", str(file))
    folder = tmp_path / "run" / "ablate"
    table = pd.read_csv(folder / "ablation.csv").set_index("configuration")
    names = list(yaml.safe_load((DOCS / "systems.yaml").read_text())["aggregate"]["ablate"]["configurations"])
    assert list(table.index[: len(names)]) == names
    assert table.loc[names, "auroc"].notna().all()
    cost = pd.read_csv(folder / "seconds.csv").set_index("configuration")
    assert cost.loc["random_attention", "parameters"] < cost.loc["ABMIL", "parameters"]
    report = (folder / "report.html").read_text()
    size = f"{int(cost.loc['MST', 'parameters']):,}"
    assert re.search(rf">MST</th>.*?<td>{size}</td><td>[\d.]+</td>", report, re.DOTALL)
    assert '<th scope="col">seconds</th>' in report


@pytest.mark.slow
def test_every_detector_on_one_cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregate.anomaly.findings.measure.DRAWS", 10)
    simulate_tree(tmp_path / "cohort", 10, "lesion", 7, coarseness=5.0, workers=1)
    file = small(tmp_path, "systems-detect", slices={"kind": "uniform", "n": 5})
    command("extract", str(file))
    command("detect", str(file), "--set", "aggregate.detect.seeds=1")
    table = pd.read_csv(tmp_path / "run" / "detect" / "detectors.csv")
    own = table[table["region"] == "all"].set_index("detector")
    assert len(own) == 16 + 2
    assert own["pixel_auroc"].notna().all()
    assert own["slice_f1_max"].between(0, 1).all()
    assert own.loc["AnomalyDINO_zero_shot", "numbers"] == 0
    assert own.loc["AnomalyDINO_1shot", "numbers"] < own.loc["AnomalyDINO", "numbers"]
    assert "numbers kept" in (tmp_path / "run" / "detect" / "report.html").read_text()
