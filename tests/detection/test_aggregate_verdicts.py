"""What is said of detectors where no mask tells the truth."""

from typing import Any

import pytest

from aggregate.anomaly.findings.verdicts import detection_verdicts

SCORE = {"value": 0.8, "ci_low": 0.6, "ci_high": 0.9}


def judged(**volumes: int) -> dict[str, Any]:
    own = {"volume_auroc": SCORE}
    return {
        "metrics": {"mahalanobis": own},
        "baselines": {"position": own},
        "comparison": {
            "mahalanobis": {"position": {"volume_auroc": {"difference": 0.1, "ci_low": -0.1, "ci_high": 0.3}}}
        },
        "reference": {"volumes": {"fit": 12, "calibration": 4, **volumes}},
    }


@pytest.mark.parametrize(("test", "other", "few"), [(4, 20, True), (12, 9, True), (30, 25, False)])
def test_without_masks_it_is_said_whom_volumes_are_judged_by_and_how_few_they_are(test, other, few) -> None:
    sentences = " ".join(detection_verdicts(judged(test=test, other=other)))
    assert f"{other} volumes outside of it against {test} held-out normals" in sentences
    assert ("too few" in sentences) == few


def test_where_nobody_is_outside_nothing_is_said_of_them() -> None:
    assert "reference group alone" not in " ".join(detection_verdicts(judged(test=4)))
