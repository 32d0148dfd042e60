"""The ordered preprocessing of a store: its steps, and what of them enters the fingerprint."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import Strict
from cache_schema.format.plane import Plane
from extract.slices.canvas import CanvasSpec, CropOrPadCanvas, FieldCanvas
from extract.slices.foreground import ForegroundSpec
from extract.slices.intensity import IntensityScaling, SliceMinMax
from extract.slices.resize import PILLOW, resize_of
from extract.slices.rules import SliceRule
from extract.slices.sides import Canvas, Pixels
from extract.slices.view import ViewSpec
from extract.volume.orient import OrientSpec

STEPS = ("orient", "foreground", "intensity", "canvas", "normalise", "view")
"""In order, as the fingerprint has them; a field each of `StepOverrides` and of `Preprocessing`."""


class NormaliseSpec(Strict):
    """Mean and standard deviation of the three channels, by which grey values are normalised; ImageNet's."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Of each channel; subtracted."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    """Of each channel; divided by."""


AS_THEY_ARE = NormaliseSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""`none`: the backbone gets the grey values themselves, whatever it was trained with."""

NormaliseName = Literal["imagenet", "none", "model"]
"""`model`: as the backbone itself says it; resolved when it is built, and stored as the numbers it said."""


class StepOverrides(Strict):
    """Single steps that replace a preset's; None leaves the preset's own."""

    plane: Plane | None = None
    """Which way the volume is cut: `axial`, `coronal` or `sagittal`."""
    slices: SliceRule | None = None
    """Which slices are kept."""
    orient: OrientSpec | None = None
    """Which axis is sliced, and how the slice image lies, e.g. `{to: ras}`."""
    foreground: ForegroundSpec | None = None
    """How the foreground is found where no mask is given, e.g. `{min_area_cm2: 5.0}`."""
    intensity: IntensityScaling | None = None
    """How intensities become grey values between 0 and 1."""
    canvas: CanvasSpec | Pixels | Literal["model"] | None = None
    """A canvas, or only its pixels: `448`, or rows and columns as `[448, 532]`; or `model`, the one that the
    backbone's checkpoint states, which `with_stated_canvas` puts in its place, e.g. `448`."""
    field_mm: Annotated[float, Field(ge=10, le=1000)] | Literal["native"] | None = None
    """Longer side of the field in mm; makes any other canvas a field canvas, e.g. `240`."""
    normalise: NormaliseSpec | NormaliseName | None = None
    """Mean and standard deviation that the backbone wants: ImageNet's, none, as the backbone itself says it
    (`model`), or numbers."""
    view: ViewSpec | None = None
    """The slices turned, or mirrored, for a store beside the one of slices as they are, e.g.
    `{rotate_deg: 45}`."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Everything between a file and the backbone's pixels."""

    orient: OrientSpec
    foreground: ForegroundSpec
    intensity: IntensityScaling
    canvas: CanvasSpec
    normalise: NormaliseSpec | None
    """None until the backbone is there that says it; see `for_backbone`."""
    slices: SliceRule
    allow_unknown_orientation: bool = False
    """Who is let in; changes no number and stands outside the fingerprint."""
    plane: Plane = "axial"
    view: ViewSpec | None = None
    """None where it would change nothing: such a store keeps the fingerprint from before there were views."""

    @property
    def pixels(self) -> Canvas:
        """Side of the square canvas, or its rows and columns."""
        return self.canvas.pixels

    def for_backbone(self, normalised: tuple[tuple[float, ...], tuple[float, ...]] | None) -> "Preprocessing":
        """With the mean and the standard deviation that a backbone wants, where it is to say them.

        Raises:
            ConfigError: If it does not.
        """
        if self.normalise is not None:
            return self
        if normalised is None:
            raise ConfigError(
                "extract.normalise: model needs a backbone that says how its pixels are normalised, and this "
                "one does not: set extract.normalise to imagenet, none, or {mean: [...], std: [...]}"
            )
        mean, std = normalised
        return replace(self, normalise=NormaliseSpec.model_validate({"mean": mean, "std": std}))

    def _normalised(self) -> NormaliseSpec:
        if self.normalise is None:
            raise ConfigError("extract.normalise: model is resolved when the backbone is built")
        return self.normalise

    def require_shape(self, rows: int, columns: int) -> None:
        """Refuse slices that cannot come out at the canvas.

        Raises:
            VolumeError: Naming the canvas at which they would.
        """
        if not isinstance(self.canvas, FieldCanvas | CropOrPadCanvas):
            resize_of(self.canvas, rows, columns)

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per channel, subtracted from pixels in `[0, 1]`."""
        return self._normalised().mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Per channel, divided by."""
        return self._normalised().std

    @property
    def resize_backend(self) -> str:
        """Which arithmetic resamples: a matrix product or torch on the device, Pillow before it, or none."""
        if isinstance(self.canvas, FieldCanvas):
            return "matmul-float32"
        if isinstance(self.canvas, CropOrPadCanvas):
            return "none"
        return "pillow" if self.canvas.filter in PILLOW else "torch"

    @property
    def read_dtype(self) -> type[np.floating]:
        """The released per-slice scaling computes in float64; a float32 read would change its 8 bits."""
        return np.float64 if isinstance(self.intensity, SliceMinMax) else np.float32

    def fingerprint_steps(self) -> tuple[dict[str, Any], ...]:
        """The steps in order, each with all its parameters, as JSON.

        A parameter that comes later is a field declared with `strict.later`, and a step that comes later
        has the default None and is left out where it is None: what was there before keeps its fingerprint.
        """
        steps: dict[str, Strict | None] = {name: getattr(self, name) for name in STEPS}
        return tuple({"step": name, **spec.model_dump(mode="json")} for name, spec in steps.items() if spec)

    def fingerprint_slices(self) -> dict[str, Any]:
        """The slice rule as JSON."""
        return self.slices.model_dump(mode="json")
