"""The section on volume scores of a detection: distributions, ROC, precision-recall; no image is needed."""

from typing import Any

import numpy as np

from aggregate.anomaly.findings.results import DetectionResults
from aggregate.anomaly.findings.summarise import LABELS
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.scores.detected import cases_of, rocs_by_detector, volume_precision, volume_roc
from aggregate.report.figures.scores.distribution import distribution

MOST_CURVES = 8


def detected_scores(results: DetectionResults) -> dict[str, Any]:
    """Figures with their captions, and a sentence for what is not drawn."""
    table = results.cases
    if table.empty:
        return {"parts": [], "why_not": "No held-out volume has a label: volume scores stand in scores.csv."}
    baselines = set(results.metrics["baselines"])
    parts = [
        {"drawing": _distribution(str(name), own), "caption": f"Volume scores of {name}, a dot per volume."}
        for name, own in table.groupby("detector", sort=False)
        if name not in baselines
    ]
    first = table[table["detector"] == table["detector"].iloc[0]]
    counts = {name: int((first["label"] == name).sum()) for name in LABELS}
    if not all(counts.values()):
        missing = next(name for name, n in counts.items() if not n)
        said = f"No held-out volume is {missing}: there is no ROC and no precision-recall curve of volumes."
        return {"parts": parts, "why_not": said}
    cases = cases_of(table, LABELS[1], MOST_CURVES)
    told = ", ".join(f"{n} {name}" for name, n in counts.items())
    beside = f"of volume scores, held-out volumes ({told}); first seeds"
    parts += [
        {"drawing": volume_roc(rocs_by_detector(cases)), "caption": f"ROC {beside}."},
        {"drawing": volume_precision(cases), "caption": f"Precision over recall {beside}."},
    ]
    return {"parts": parts, "why_not": ""}


def _distribution(name: str, own: Any) -> Drawing:
    """One detector's volumes by label."""
    scores = own["score"].to_numpy(dtype=np.float64)
    classes = [label for label in LABELS if (own["label"] == label).any()]
    span = float(scores.min()), float(scores.max())
    kept = own[["participant_id", "volume", "label", "score"]].reset_index(drop=True)
    return distribution(kept, classes, "volume score", None, f"detected-{name}", span)
