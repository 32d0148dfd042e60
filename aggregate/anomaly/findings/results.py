"""What one detection leaves behind for its report and for whoever called it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aggregate.anomaly.findings.people import HeldOut
from aggregate.anomaly.scoring.volumes import ScoreArray
from aggregate.cohort.turnout import Turnout
from cache_schema.format.header import Header

if TYPE_CHECKING:
    import pandas

PartArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ShownVolume:
    """One volume that the report shows."""

    caption: str
    preview: bytes | None
    """The store's mosaic."""
    tokens: ScoreArray
    """`(slice, row, col)`: scores as they are reported."""
    foreground: ScoreArray
    """`(slice, row, col)`."""
    height_mm: ScoreArray
    """`(slice,)`."""
    slices: ScoreArray
    """`(slice,)`: slice scores."""
    threshold: float
    """Below it a token is nothing special: exceeded by 10 % of normal tokens."""
    parts: dict[str, PartArray] = field(default_factory=dict)
    """By detector: `(slice, row, col)`: which of its own parts each patch comes from."""


@dataclass(frozen=True, slots=True)
class DetectionResults:
    """Everything that `report.html` shows; the run folder holds the same numbers as files."""

    folder: Path
    command: str
    config: dict[str, Any]
    """The resolved pipeline, as in `config.yaml`."""
    metrics: dict[str, Any]
    """As in `metrics.json`."""
    detectors: "pandas.DataFrame"
    """As in `detectors.csv`."""
    scores: "pandas.DataFrame"
    """As in `scores.csv`."""
    slices: "pandas.DataFrame | None"
    """As in `slices.csv`, where asked for."""
    verdict: list[str]
    turnout: Turnout
    """Who is used, who is not and why."""
    headers: dict[str, Header]
    """By store name."""
    content_digests: dict[str, str]
    shown: list[ShownVolume]
    detector: str
    """Whose scores these are."""
    groups: list[tuple[str, str, int, int]]
    """Store, part, participants, volumes."""
    curves: "pandas.DataFrame"
    """As in `curves.csv`."""
    cases: "pandas.DataFrame"
    """Of each detector's first seed the held-out volumes whose label is known, as `case_table` gives them."""
    n_scored: int
    """Volumes scored in this process; the others were found."""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    people: HeldOut | None = None
    """Whom pages can be of."""

    @property
    def left_out(self) -> list[dict[str, str]]:
        """Rows with participant_id, session_id, volume_id and reason."""
        return self.turnout.rows()
