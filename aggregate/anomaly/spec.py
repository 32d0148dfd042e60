"""The `aggregate.detect` part of a pipeline file: who the normals are, which detectors, what is written.

Grammar: `detect: {reference: {column: diagnosis, value: control}, detectors: [{kind: memory_bank}]}`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from aggregate.anomaly.detectors.registry import NewDetector
from aggregate.common.table_values import value_name
from cache_schema.common.short_forms import reads
from cache_schema.common.strict import Strict

VALUE = {"type": ["string", "number"]}


@reads(VALUE, {"type": "array", "items": VALUE})
def _named(value: Any) -> Any:
    """Read one value or several as text: 1 and 1.0 are `1`; YAML's bare yes and no are refused."""
    many = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(item, bool) for item in many):
        raise ValueError("a bare yes, no, true or false is not a value; put it in quotes")
    return [value_name(item) for item in many if item is not None]


class ReferenceSpec(Strict):
    """The reference group: `{column, value}`, or the lesion-free slices of everybody with a mask."""

    column: str | None = None
    """Of the cohort table, e.g. `diagnosis`."""
    value: Annotated[tuple[str, ...], BeforeValidator(_named)] = ()
    """The value, or the list of values, that normals have in the column, e.g. `control`."""
    values: Annotated[tuple[str, ...], BeforeValidator(_named)] = ()
    """The same as `value`, e.g. `[control, healthy]`."""
    slices: Literal["lesion_free"] | None = None
    """Slices without a lesion voxel, of volumes that have a lesion mask."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.column is None) == (self.slices is None):
            raise ValueError("either {column, value} or {slices: lesion_free} is expected")
        if self.column is not None and bool(self.value) == bool(self.values):
            raise ValueError("column needs a value, or a list of values")
        if self.column is None and (self.value or self.values):
            raise ValueError("a value needs a column")
        return self

    @property
    def wanted(self) -> tuple[str, ...]:
        """The values of normals."""
        return self.value or self.values


class TruthSpec(Strict):
    """Where the lesion masks are."""

    column: str | None = None
    """Of the cohort table: paths of masks, relative to the table, e.g. `lesion_mask`."""
    bids: Path | None = None
    """Root of a BIDS dataset with `*_label-lesion_mask`; by default the input of `extract`, e.g.
    `data/masks`."""
    off: bool = False
    """Measure nothing against lesion masks, even where there are some."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.column is not None and self.bids is not None:
            raise ValueError("either a column or a BIDS root is expected")
        return self


@reads({"enum": ["bids", "none"]})
def _truth(value: Any) -> Any:
    """Read the bare words `bids` and `none`."""
    return {"bids": {}, "none": {"off": True}}.get(value, value) if isinstance(value, str) else value


class SharesSpec(Strict):
    """Shares of the reference group's participants; a participant is in one part only."""

    fit: float = Field(default=0.6, gt=0, lt=1)
    """Share that detectors are fitted on."""
    calibration: float = Field(default=0.2, gt=0, lt=1)
    """Sets thresholds, and chooses the epoch where a detector has several."""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Share that is scored as any other: normals that nothing has seen."""
    seed: int = Field(default=0, ge=0)
    """What the division is drawn from."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.fit + self.calibration + self.test - 1) > 1e-6:
            raise ValueError("fit, calibration and test must add up to 1")
        return self


class DetectSpec(Strict):
    """What `slicecache detect` does."""

    reference: ReferenceSpec
    """The normals, by a column of the cohort table, e.g. `{column: diagnosis, value: control}`; or the
    lesion-free slices of everybody with a mask."""
    detectors: tuple[NewDetector, ...]
    """Which, by their kinds; the baselines `position` and `intensity` are added to each store's, e.g.
    `[{kind: memory_bank}, {kind: dpmm}]`."""
    truth: Annotated[TruthSpec | None, BeforeValidator(_truth)] = None
    """`{column: lesion_mask}`, `bids`, `{bids: FOLDER}` or `none`; by default masks are used where the input
    of `extract` has them, e.g. `{column: lesion_mask}`."""
    seeds: int = Field(default=1, ge=1)
    """Fits per detector; `dpmm` depends on its seed and wants at least 5."""
    split: SharesSpec = SharesSpec()
    """Shares of the reference group's participants; a participant is in one part only, e.g.
    `{fit: 0.5, calibration: 0.25, test: 0.25}`."""
    per_height: bool = False
    """Scores in standard deviations from calibration normals of the same height; not the baselines'."""
    maps: Literal["all", "test", "none"] = "test"
    """Volumes that get a NIfTI map: all that are scored, all but the calibration part, or none."""
    component_maps: bool = False
    """Beside the anomaly maps of detectors that have components (`dpmm`): which of them each voxel comes
    from, and its log density."""
    between: Literal["zero", "linear"] = "zero"
    """What a map holds between kept slices: 0, or a straight line between the two."""
    slice_scores: bool = False
    """Also write `slices.csv` with a row per slice."""
    allow_unlike_reference: bool = False
    """Score volumes whose contrast or kind of foreground the reference group does not have; the scores
    then also measure that difference."""
    memory_gib: float = Field(default=0.25, gt=0)
    """What slices in memory may take; what detectors keep comes beside it."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if not self.detectors:
            raise ValueError("detectors names none; [{kind: memory_bank}] is a start")
        names = [spec.called for spec in self.detectors]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two detectors are called {twice[0]!r}: give each a name of its own (name: ...)"
            )
        return self
