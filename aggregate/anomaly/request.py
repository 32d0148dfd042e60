"""What a study of detectors is asked for: a pipeline taken apart, so that no room behind reads its keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aggregate.anomaly.spec import DetectSpec
from aggregate.cohort.spec import JoinSpec, SelectSpec

OWN_STORE = "main"
"""What the store of detectors that name none is called."""


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """Everything that a study depends on, with every path resolved."""

    detect: DetectSpec
    """The reference group, the detectors and what is written."""
    stores: Mapping[str, str]
    """Location by name: `OWN_STORE`, and what detectors call theirs."""
    cohort: Path
    """The table."""
    folder: Path
    """Where everything is written."""
    join: JoinSpec = field(default_factory=JoinSpec)
    where: str | None = None
    missing: tuple[str, ...] = ()
    select: SelectSpec = field(default_factory=SelectSpec)
    sessions: str = "first"
    images: Path | None = None
    """Input root of stage one: for the images' own headers and, unless told otherwise, lesion masks."""
    masks: Path | None = None
    """BIDS root of the lesion masks, where `detect.truth` names one."""
    config: Mapping[str, Any] | None = None
    """The resolved pipeline, for `config.yaml`; it runs again as it is."""
    command: str = ""
    """What was typed, for the report."""
