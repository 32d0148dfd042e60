"""The detectors that stand alone: the union on `kind` that `registry.py` and `combined.py` share."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from aggregate.anomaly.detectors.custom import CustomDetectorSpec
from aggregate.anomaly.detectors.dino_ad import DinoAdSpec
from aggregate.anomaly.detectors.dpmm import DpmmSpec
from aggregate.anomaly.detectors.intensity import IntensityBaselineSpec
from aggregate.anomaly.detectors.mahalanobis import MahalanobisSpec
from aggregate.anomaly.detectors.memory_bank import MemoryBankSpec
from aggregate.anomaly.detectors.patchcore import PatchcoreSpec
from aggregate.anomaly.detectors.position import PositionBaselineSpec
from aggregate.anomaly.detectors.spatial_ar import SpatialArSpec
from aggregate.anomaly.detectors.symmetry import SymmetrySpec
from cache_schema.common.custom import read_part

AnySingle = (
    MemoryBankSpec
    | PatchcoreSpec
    | MahalanobisSpec
    | DinoAdSpec
    | DpmmSpec
    | SpatialArSpec
    | SymmetrySpec
    | PositionBaselineSpec
    | IntensityBaselineSpec
    | CustomDetectorSpec
)

SingleSpec = Annotated[AnySingle, Field(discriminator="kind"), BeforeValidator(read_part)]
"""A detector that is not made of others."""
