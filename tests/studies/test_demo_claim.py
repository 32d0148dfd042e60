"""The demo's claim on a small cohort: planted lesions are found, and where none are nothing is."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nilearn")

import slicecache as sc

N = 24


def study(folder: Path, effect: str, **look: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of a head and of a detector on a simulated cohort, one command after the other."""
    sc.simulate(folder / "cohort", N, effect, 3, coarseness=1.5, workers=2, **look)  # type: ignore[arg-type]
    pipeline = {
        "cache": {"store": str(folder / "cache.zarr")},
        "extract": {
            "input": {"bids": str(folder / "cohort")},
            "slices": {"kind": "every", "step_mm": 6},
            "canvas": 112,
            "backbone": {"kind": "untrained", "size": "tiny", "seed": 0},
            "tokens": ["cls", "patches"],
            "engine": "torch",
            "dtype": "float32",
            "workers": 0,
        },
        "aggregate": {
            "cohort": str(folder / "cohort" / "participants.tsv"),
            "target": {"column": "diagnosis", "positive": "patient"},
            "folds": {"n": 4, "repeats": 2},
            "detect": {
                "reference": {"column": "diagnosis", "value": "control"},
                "detectors": [{"kind": "memory_bank", "size": 5000}],
                "maps": "none",
            },
        },
    }
    sc.extract(pipeline)
    return sc.train(pipeline).metrics, sc.detect(pipeline).metrics


@pytest.mark.slow
def test_what_is_planted_is_found_and_nothing_where_nothing_is(tmp_path: Path) -> None:
    head, detector = study(tmp_path / "planted", "lesion", lesion_ml=100)
    flat, silent = study(tmp_path / "null", "none")
    found, chance = head["metrics"]["auroc"], flat["metrics"]["auroc"]
    bank, position = detector["metrics"]["memory_bank"], detector["baselines"]["position"]
    assert found["value"] > 0.65  # 24 participants: no interval of theirs leaves out 0.5
    assert found["value"] > chance["value"] + 0.1
    assert chance["ci_low"] < 0.5 < chance["ci_high"]
    assert bank["foreground"]["pixel_auroc"]["value"] > position["foreground"]["pixel_auroc"]["value"] + 0.1
    assert bank["volume_auroc"]["value"] > 0.75
    assert silent["metrics"]["memory_bank"]["volume_auroc"]["ci_low"] < 0.5
