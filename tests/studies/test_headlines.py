"""The first lines of a simulated run: planted, found, by chance, saved; from its files alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from aggregate.report.text.headlines import headlines


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def trained(auroc: float) -> dict[str, Any]:
    found = {"value": auroc, "ci_low": auroc - 0.1, "ci_high": auroc + 0.1}
    return {
        "task": "binary",
        "configuration": "attention",
        "metrics": {"auroc": found},
        "baselines": {"confounds_only": {"auroc": {"value": 0.52, "ci_low": None, "ci_high": None}}},
    }


def detected(auroc: float, masks: bool) -> dict[str, Any]:
    value = {"value": auroc, "ci_low": None, "ci_high": None}
    inside = {"pixel_auroc": value, "lesion_sensitivity_fpr05": {"value": 0.75}, "n_lesions": {"value": 20.0}}
    row = {"volume_auroc": value} | ({"foreground": inside} if masks else {})
    place = {"volume_auroc": value} | ({"foreground": {"pixel_auroc": {"value": 0.61}}} if masks else {})
    return {"metrics": {"memory_bank": row, "other": row}, "baselines": {"position": place}}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    planted = {"lesions": 20, "smallest_ml": 0.61, "median_ml": 9.9, "largest_ml": 88.2, "darkening": 0.55}
    note = {"parameters": {"participants": 40, "effect": "lesion"}, "files": {}, "planted": planted}
    put(tmp_path / "cohort" / "simulation.json", note)
    put(tmp_path / "train" / "metrics.json", trained(0.91))
    put(tmp_path / "detect" / "metrics.json", detected(0.95, True))
    put(tmp_path / "null" / "train" / "metrics.json", trained(0.48))
    put(tmp_path / "null" / "detect" / "metrics.json", detected(0.51, False))
    backbone = {"volumes": 32, "slices": 1152, "seconds": 40.0}
    put(
        tmp_path / "epoch.json",
        {"with_backbone": backbone, "from_store": {"epochs": 200, "seconds": 2.0}},
    )
    return tmp_path


def test_four_lines_from_the_files(run_folder: Path) -> None:
    lines = {line.name: line.sentence for line in headlines(run_folder)}
    assert list(lines) == ["Planted", "Found", "By chance", "Saved"]
    assert "20 of 40 participants, 9.9 ml in the median (0.6 to 88 ml), at 55 %" in lines["Planted"].replace(
        "55%", "55 %"
    )
    assert "0.91 (0.81 to 1.01)" in lines["Found"]
    assert "memory bank finds 75% of 20 lesions" in lines["Found"]
    assert "position 0.61" in lines["Found"]
    assert "0.48" in lines["By chance"]
    assert "0.51" in lines["By chance"]
    assert "40.0 s (32 volumes, 1,152 slices)" in lines["Saved"]
    assert "4,000 times less" in lines["Saved"]


def test_what_is_not_known_is_not_said(run_folder: Path) -> None:
    (run_folder / "cohort" / "simulation.json").write_text("{")
    assert [line.name for line in headlines(run_folder)] == ["Saved"]
    put(
        run_folder / "epoch.json",
        {"with_backbone": {"seconds": 1}, "from_store": {"seconds": 0, "epochs": 1}},
    )
    assert headlines(run_folder) == []
    put(run_folder / "cohort" / "simulation.json", {"parameters": {"participants": 8, "effect": "none"}})
    (run_folder / "null" / "train" / "metrics.json").unlink()
    (run_folder / "null" / "detect" / "metrics.json").unlink()
    assert [line.name for line in headlines(run_folder)] == ["Planted", "Found"]
