"""What a study asks of a cohort: its table, and which rows and volumes take part."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aggregate.cohort.select import SelectSpec
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.cohort.table.split import SplitSpec
from aggregate.cohort.table.stack import StackedSpec
from aggregate.cohort.task import TargetBase

Combine = Literal["concat", "mean"]


@dataclass(frozen=True, slots=True)
class CohortRequest:
    """The parts of a pipeline's section that a cohort is made of."""

    table: Path | tuple[StackedSpec, ...]
    """The cohort table, or several; absolute paths, or relative to the working folder."""
    sheet: str | None = None
    """Of a workbook."""
    where: str | None = None
    missing: Sequence[str] = ()
    join: JoinSpec = field(default_factory=JoinSpec)
    sessions: str = "first"
    select: SelectSpec = field(default_factory=SelectSpec)
    combine: Combine | None = None
    target: TargetBase | None = None
    """None for a study without labels."""
    split: SplitSpec | None = None
