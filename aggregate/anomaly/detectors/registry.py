"""The registry of detectors: a union on `kind`, and whatever stands behind `kind: custom`.

Grammar: `detectors: [{kind: memory_bank, bank: uniform, size: 100000}, {kind: dpmm, store: dpmm}]`. A new
detector is one new file, with its spec and its class, and one name in `single.py`; one of somebody else's
is `{kind: custom, target: "package.module:Name", options: {...}}`, or in Python the class itself.
"""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field

from aggregate.anomaly.detectors.base import DetectorBase
from aggregate.anomaly.detectors.combined import CombinedSpec
from aggregate.anomaly.detectors.single import AnySingle
from cache_schema.common.custom import read_part

DetectorSpec = Annotated[AnySingle | CombinedSpec, Field(discriminator="kind"), BeforeValidator(read_part)]
"""Any detector."""

DETECTORS: tuple[type[DetectorBase], ...] = get_args(get_args(DetectorSpec)[0])
"""The specs of the union, in its order."""


def _said(value: Any) -> Any:
    """Add what a new run means by a detector where its file does not say."""
    kinds = {spec.model_fields["kind"].default: spec for spec in DETECTORS}
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        return value
    said = {**kinds[kind].new_run(value), **value}
    parts = said.get("parts")
    return said | {"parts": [_said(part) for part in parts]} if isinstance(parts, list | tuple) else said


NewDetector = Annotated[DetectorSpec, BeforeValidator(_said)]
"""Any detector as somebody asks for it now; `DetectorSpec` reads what was stored."""
