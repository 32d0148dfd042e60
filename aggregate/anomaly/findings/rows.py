"""`scores.csv` and `slices.csv`: what is said of every volume and slice, by detection and by prediction."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from aggregate.anomaly.reference.group import Part
from aggregate.anomaly.scoring.fitted import RATES, Fitted, Judged
from aggregate.anomaly.scoring.volumes import Surroundings, VolumeScores
from cache_schema.format.identity import VolumeKey

VOLUME_COLUMNS = (
    "participant_id",
    "session_id",
    "volume_id",
    "detector",
    "seed",
    "part",
    "score",
    *(f"above_{name}" for name in RATES),
    *(f"share_{name}" for name in RATES),
)
SLICE_COLUMNS = (*VOLUME_COLUMNS[:6], "slice", "height_mm", "score")


def volume_row(
    key: VolumeKey, part: Part, fitted: Fitted, scores: VolumeScores | None, around: Surroundings | None
) -> dict[str, Any]:
    """One volume by one detector.

    Args:
        key: Of the volume.
        part: Its part.
        fitted: The detector.
        scores: As they are reported; None for a volume that was fitted on, which has no honest score.
        around: Of the volume.
    """
    judged = None if scores is None or around is None else fitted.judge(scores, around)
    return judged_row(key, part, fitted, judged)


def judged_row(key: VolumeKey, part: Part, fitted: Fitted, judged: Judged | None) -> dict[str, Any]:
    """As `volume_row`, of what a detector has said already."""
    row: dict[str, Any] = {**_key(key), "detector": fitted.name, "seed": fitted.seed, "part": part}
    if judged is None:
        return {**dict.fromkeys(VOLUME_COLUMNS), **row}
    row["score"] = judged.score
    row |= {f"above_{name}": None if found is None else int(found) for name, found in judged.above.items()}
    return row | {f"share_{name}": share for name, share in judged.shares.items()}


def slice_rows(
    key: VolumeKey, part: Part, fitted: Fitted, scores: VolumeScores, around: Surroundings
) -> list[dict[str, Any]]:
    """The slices of one volume by one detector, from low to high."""
    fixed = {**_key(key), "detector": fitted.name, "seed": fitted.seed, "part": part}
    return [
        {**fixed, "slice": place, "height_mm": float(height), "score": float(score)}
        for place, (height, score) in enumerate(zip(around.height_mm, scores.slices, strict=True))
    ]


def _key(key: VolumeKey) -> dict[str, str]:
    return dict(zip(VOLUME_COLUMNS[:3], key.as_list(), strict=True))


def volume_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table; `above_*` is 1, 0 or empty."""
    frame = pd.DataFrame(list(rows), columns=list(VOLUME_COLUMNS))
    whole = {f"above_{name}": "Int64" for name in RATES}
    return frame.astype({**whole, "score": "float64", **{f"share_{name}": "float64" for name in RATES}})


def slice_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table."""
    return pd.DataFrame(list(rows), columns=list(SLICE_COLUMNS))
