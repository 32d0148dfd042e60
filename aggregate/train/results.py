"""What one training leaves behind for its report and for whoever called it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggregate.cohort.turnout import Turnout
from aggregate.evaluate.evaluate import Evaluation
from aggregate.train.embedding_map import EmbeddingMap
from cache_schema.format.header import Header

if TYPE_CHECKING:
    import pandas

EXTERNAL = "external_"
"""Begins the names of an external cohort's figures in the folder of a training."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that `report.html` shows; the run folder holds the same numbers as files."""

    folder: Path
    """The run folder."""
    command: str
    """The command line that makes this again."""
    config: dict[str, Any]
    """The resolved pipeline, as in `config.yaml`."""
    metrics: dict[str, Any]
    """As in `metrics.json`."""
    predictions: "pandas.DataFrame"
    """As in `predictions.csv`; baselines may be among its configurations."""
    cohort: "pandas.DataFrame"
    """One row per bag, as in `Cohort.frame`."""
    classes: tuple[str, ...]
    """Label names; the positive one last when there are two."""
    turnout: Turnout
    """Who is used, who is not and why."""
    header: Header
    """Of the store that the embeddings came from."""
    content_digest: str
    """Of that store's committed volumes."""
    previews: list[tuple[str, bytes]]
    """Caption and PNG of some volumes, exactly as the backbone saw them."""
    attention: "pandas.DataFrame"
    """Columns height_mm, attention (times the number of slices: 1 is uniform), label, participant_id;
    out-of-fold."""
    history: "pandas.DataFrame | None" = None
    """Losses by run and epoch, as `train.history` gives them."""
    site_by_label: "pandas.DataFrame | None" = None
    """Counts of participants, one row per site, one column per label."""
    notes: list[str] = field(default_factory=list)
    """Plain sentences on how it was done."""
    warnings: list[str] = field(default_factory=list)
    """Sentences that stand in red above the results."""
    embedding: EmbeddingMap | None = None
    """Where participants lie in the space of their mean-pooled tokens."""
    external: Evaluation | None = None
    """What the bundle is worth on another cohort, where the pipeline names one."""
    contrasts: "list[Results]" = field(default_factory=list)
    """Two of the classes at a time, where the target asks for pairs."""

    @property
    def left_out(self) -> list[dict[str, str]]:
        """Rows with participant_id, session_id, volume_id and reason."""
        return self.turnout.rows()
