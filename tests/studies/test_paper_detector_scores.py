"""What the methods say of how scores of volumes are made is what the run's configuration says."""

from pathlib import Path
from typing import Any

import pytest

from aggregate.anomaly.scoring.volumes import TOP_SHARE
from aggregate.paper.finished import Finished
from aggregate.paper.sentences.detector_scores import scores
from aggregate.paper.sentences.detectors import judged


def said(*detectors: dict[str, Any], **detect: Any) -> str:
    section = {"detect": {"detectors": list(detectors), **detect}}
    return scores(Finished(Path("run"), "detect", {}, {"aggregate": section}, {}, {}))


def test_the_share_and_its_source_are_said() -> None:
    text = said({"kind": "memory_bank"})
    assert (
        f"mean of the highest {TOP_SHARE * 100:g} % (at least one) of its foreground tokens' scores" in text
    )
    assert "every detector and baseline [@damm2025anomalydino]" in text
    assert "split conformal prediction [@lei2018distribution]" in text
    assert "all patches" not in text
    assert "  " not in text


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"kind": "memory_bank", "top": "all", "name": "b_1"},
            "For slices of b 1 these are the highest 1 % of",
        ),
        ({"kind": "memory_bank", "as_released": True}, "For slices of memory bank these are"),
        ({"kind": "patchcore"}, "A slice's score by patchcore is its highest foreground token score"),
        ({"kind": "custom", "name": "mine"}, "Slices of mine are scored by its own rule"),
    ],
)
def test_slices_that_have_another_rule(spec: dict[str, Any], told: str) -> None:
    assert told in said(spec)
    assert told not in said({"kind": "mahalanobis"})


def test_parts_and_what_puts_them_on_one_scale() -> None:
    parts = [{"kind": "memory_bank"}, {"kind": "symmetry", "of": "intensity"}]
    text = said({"kind": "combined", "parts": parts, "reduce": "max", "per_height": False})
    assert "by combined is the largest of its parts' standardised scores (memory bank and symmetry of" in text
    assert "of calibration normals' foreground tokens at any height" in text
    text = said({"kind": "combined", "parts": parts, "reduce": "covariance"})
    assert "inverse of their correlation on normals [@obrien1984procedures]" in text
    assert "tokens at the same height" in text
    assert "parts" not in said({"kind": "mahalanobis"})


def test_what_normalises_scores() -> None:
    assert "nothing beyond its own rule normalises them" in said({"kind": "dpmm"})
    assert "standard deviations from the calibration normals'" in said({"kind": "dpmm"}, per_height=True)


@pytest.mark.parametrize("masks", [True, False])
def test_what_counts_as_anomalous_and_as_found(masks: bool) -> None:
    metrics = {"metrics": {"bank": {"foreground": {}} if masks else {}}, "ci_method": "bootstrap"}
    text = judged(Finished(Path("run"), "detect", metrics, {}, {}, {}))
    assert "counts as anomalous where its lesion mask holds a voxel" in text
    assert ("A lesion is found where at least 10 % of its measured voxels" in text) == masks
