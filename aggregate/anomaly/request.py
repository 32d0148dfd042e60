"""What a study of detectors is asked for: a pipeline taken apart, so that no room behind reads its keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregate.anomaly.spec import DetectSpec
from aggregate.cohort.request import CohortRequest
from cache_schema.common.prove import Prove

OWN_STORE = "main"
"""What the store of detectors that name none is called."""


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """Everything that a study depends on, with every path resolved."""

    detect: DetectSpec
    """The reference group, the detectors and what is written."""
    stores: Mapping[str, str]
    """Location by name: `OWN_STORE`, and what detectors call theirs."""
    cohort: CohortRequest
    """The table, and which of its rows and of the stores' volumes take part; it needs no target."""
    folder: Path
    """Where everything is written."""
    images: Path | None = None
    """Input root of stage one: for the images' own headers and, unless told otherwise, lesion masks."""
    pictures: Path | None = None
    """What the images' paths in the records start from, for pages that show them."""
    masks: Path | None = None
    """BIDS root of the lesion masks, where `detect.truth` names one."""
    config: Mapping[str, Any] | None = None
    """The resolved pipeline, for `config.yaml`; it runs again as it is."""
    command: str = ""
    """What was typed, for the report."""
    prove: Prove = "crc32c"
    """What the stores' numbers are held to when they are read."""
