"""What an ablation leaves behind for its files and its report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggregate.ablate.findings.compare import Comparison, Row
from aggregate.ablate.grid.expand import Study
from aggregate.cohort.turnout import Turnout
from cache_schema.format.header import Header

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class AblationResults:
    """Everything that `report.html` shows; the run folder holds the same numbers as files."""

    folder: Path
    command: str
    """The command line that makes this again."""
    config: dict[str, Any]
    """The resolved pipeline, as in `config.yaml`."""
    study: Study
    rows: tuple[Row, ...]
    """Configurations in their order, `nested_selection` last where it is."""
    baselines: tuple[Row, ...]
    primary: tuple[Comparison, ...]
    chosen: Mapping[str, int]
    """How often nested selection took which configuration."""
    nulls: Mapping[str, dict[str, Any]]
    """By configuration, `mean`, `sd`, `p`, `n` of shuffled labels."""
    metrics: dict[str, Any]
    """As in `metrics.json`."""
    header: Header
    """Of the reference's store."""
    seconds: Mapping[str, float]
    """Of this process, by configuration; runs of the journal cost nothing."""
    n_found: int
    """Runs that the journal held."""
    n_trained: int
    """Runs of this process."""
    wall_seconds: float
    turnout: Turnout
    """Of the reference's store: who is used, who is not and why."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """That training moves, by configuration."""
    told: "pandas.DataFrame | None" = None
    """Rows of `predictions.csv` of those whose scores the report draws, the one in question first."""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def first_rows(self, most: int) -> list[Row]:
        """At most so many rows in their order; points of the grid give way to what has a name."""
        grid = {c.name for c in self.study.configurations if c.point is not None}
        room = max(0, most - sum(row.name not in grid for row in self.rows))
        kept = {row.name for row in [row for row in self.rows if row.name in grid][:room]}
        return [row for row in self.rows if row.name not in grid or row.name in kept]
