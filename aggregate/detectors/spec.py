"""What a pipeline file may say about detectors; `build()` makes one and only then imports torch.

Grammar: `detectors: [{kind: memory_bank, bank: uniform, size: 100000}, {kind: dpmm, store: dpmm}]`. A new
detector is one new file, one spec class here and its name in `DetectorSpec`.
"""

from typing import Literal

from cache_schema.models import Strict


class DetectorBase(Strict):
    """What every detector has."""

    store: str | None = None
    """Name in `extract.stores`, or a path: the store it reads; by default the pipeline's."""


class MahalanobisSpec(DetectorBase):
    """Distance to the Gaussian of normal tokens (PaDiM-like)."""

    kind: Literal["mahalanobis"] = "mahalanobis"


DetectorSpec = MahalanobisSpec
"""The registry of detectors."""
