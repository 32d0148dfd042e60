"""The registry of detectors: a union on `kind`, and whatever stands behind `kind: custom`.

Grammar: `detectors: [{kind: memory_bank, bank: uniform, size: 100000}, {kind: dpmm, store: dpmm}]`. A new
detector is one new file, with its spec and its class, and one name in `DetectorSpec`; one of somebody
else's is `{kind: custom, target: "package.module:Name", options: {...}}`, or in Python the class itself.
"""

from typing import Annotated, get_args

from pydantic import BeforeValidator, Field

from aggregate.anomaly.detectors.base import DetectorBase
from aggregate.anomaly.detectors.custom import CustomDetectorSpec
from aggregate.anomaly.detectors.dino_ad import DinoAdSpec
from aggregate.anomaly.detectors.dpmm import DpmmSpec
from aggregate.anomaly.detectors.intensity import IntensityBaselineSpec
from aggregate.anomaly.detectors.mahalanobis import MahalanobisSpec
from aggregate.anomaly.detectors.memory_bank import MemoryBankSpec
from aggregate.anomaly.detectors.patchcore import PatchcoreSpec
from aggregate.anomaly.detectors.position import PositionBaselineSpec
from aggregate.anomaly.detectors.spatial_ar import SpatialArSpec
from cache_schema.common.custom import read_part

DetectorSpec = Annotated[
    MemoryBankSpec
    | PatchcoreSpec
    | MahalanobisSpec
    | DinoAdSpec
    | DpmmSpec
    | SpatialArSpec
    | PositionBaselineSpec
    | IntensityBaselineSpec
    | CustomDetectorSpec,
    Field(discriminator="kind"),
    BeforeValidator(read_part),
]
"""Any detector."""

DETECTORS: tuple[type[DetectorBase], ...] = get_args(get_args(DetectorSpec)[0])
"""The specs of the union, in its order."""
