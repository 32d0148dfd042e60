"""The studies of `docs/` on simulated cohorts: effects are found, and a planted shortcut is flagged."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

import slicecache
from extract.simulate.tree import simulate_tree

DOCS = Path(__file__).parents[2] / "docs"


def coarse(step_mm: int) -> tuple[str, str]:
    """Fewer slices than the study has."""
    return ("--set", f"extract.slices.step_mm={step_mm}")


def command(*given: str) -> None:
    assert slicecache.guarded(slicecache.cli.main, list(given)) == 0


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", ["headache", "two-cohorts"])
def test_a_study_is_less_than_25_lines(name: str) -> None:
    lines = (DOCS / f"{name}.yaml").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) < 25


@pytest.mark.slow
def test_four_groups_with_a_graded_effect(tmp_path: Path) -> None:
    groups = ("healthy", "migraine", "acute", "persistent")
    simulate_tree(tmp_path / "cohort", 64, groups=groups, coarseness=2.0)
    told = {
        "run.folder": tmp_path / "run",
        "cache.store": tmp_path / "cache.zarr",
        "extract.input.bids": tmp_path / "cohort",
        "aggregate.cohort": tmp_path / "cohort" / "participants.tsv",
    }
    sets = [word for name, value in told.items() for word in ("--set", f"{name}={value}")]
    command("run", str(DOCS / "headache.yaml"), *sets, *coarse(12))
    metrics = read(tmp_path / "run" / "train" / "metrics.json")
    found = {name: row["metrics"]["auroc"]["value"] for name, row in metrics["pairs"].items()}
    assert len(found) == 6
    far = metrics["pairs"]["healthy_vs_persistent"]
    assert far["metrics"]["auroc"]["ci_low"] > 0.5
    assert far["against_guessing"]["p_holm"] < 0.05
    near = [found[f"{a}_vs_{b}"] for a, b in pairwise(groups)]
    assert sum(near) / 3 < found["healthy_vs_persistent"]
    assert metrics["metrics"]["auroc_pairwise"]["value"] > 0.6
    assert all(row["baselines"]["scanner_only"]["auroc"]["value"] < 0.75 for row in metrics["pairs"].values())
    assert (tmp_path / "run/train/pairs/acute_vs_persistent/report.html").is_file()


@pytest.mark.slow
def test_a_planted_shortcut_is_flagged_and_the_effect_is_found_elsewhere(tmp_path: Path) -> None:
    simulate_tree(tmp_path / "here", 60, seed=0, coarseness=2.0)
    simulate_tree(tmp_path / "there", 36, seed=1, coarseness=2.0)
    study, run = str(DOCS / "two-cohorts.yaml"), f"run.folder={tmp_path / 'run'}"
    for name in ("there", "here"):
        place = (f"extract.input.bids={tmp_path / name}", f"cache.store={tmp_path / name}.zarr")
        command("extract", study, *coarse(20), "--set", run, *(w for p in place for w in ("--set", p)))
    external = f"aggregate.external.cohort={tmp_path / 'there' / 'participants.tsv'}"
    own = (f"cache.store={tmp_path / 'here.zarr'}", f"aggregate.external.store={tmp_path / 'there.zarr'}")
    told = (run, external, *own, f"aggregate.cohort={tmp_path / 'here' / 'participants.tsv'}")
    command("train", study, *coarse(20), *(w for t in told for w in ("--set", t)))
    metrics = read(tmp_path / "run" / "train" / "metrics.json")
    outside = metrics["external"]
    red = [line for line in metrics["warnings"] if "the site alone tells their label" in line]
    assert len(red) == 2
    assert red[0] in (tmp_path / "run" / "train" / "report.html").read_text()
    confounds = metrics["baselines"]["confounds_only"]["auroc"]["value"]  # site is one of them
    assert confounds > 0.75
    assert abs(outside["baselines"]["confounds_only"]["auroc"]["value"] - 0.5) < 0.2
    assert outside["metrics"]["auroc"]["ci_low"] > 0.5  # the effect is there all the same
    assert outside["comparison"]["confounds_only"]["difference"] > 0
