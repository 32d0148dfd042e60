"""The ordered preprocessing of a store: its steps, its presets, and what of it enters the fingerprint."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from cache_schema.common.strict import Strict
from extract.slices.canvas import CanvasSpec, CropCanvas, FieldCanvas
from extract.slices.foreground import ForegroundSpec
from extract.slices.intensity import IntensityScaling, Percentile, SliceMinMax
from extract.slices.rules import Center, SliceRule, WithForeground
from extract.volume.orient import OrientSpec

PresetName = Literal["letterbox", "dinoatten3d", "dinoatten3d_released"]


STEPS = ("orient", "foreground", "intensity", "canvas", "normalise")
"""In order, as the fingerprint has them; a field each of `StepOverrides` and of `Preprocessing`."""


class NormaliseSpec(Strict):
    """Mean and standard deviation of the three channels that the backbone was trained with (ImageNet's)."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)


class StepOverrides(Strict):
    """Single steps that replace a preset's; None leaves the preset's own."""

    slices: SliceRule | None = None
    """Which slices are kept."""
    orient: OrientSpec | None = None
    foreground: ForegroundSpec | None = None
    intensity: IntensityScaling | None = None
    canvas: CanvasSpec | Annotated[int, Field(ge=14)] | None = None
    """A canvas, or only its pixels."""
    field_mm: Annotated[float, Field(ge=10, le=1000)] | Literal["native"] | None = None
    """Side of the field in mm; makes a crop canvas a field canvas."""
    normalise: NormaliseSpec | None = None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Everything between a file and the backbone's pixels."""

    orient: OrientSpec
    foreground: ForegroundSpec
    intensity: IntensityScaling
    canvas: CanvasSpec
    normalise: NormaliseSpec
    slices: SliceRule
    allow_unknown_orientation: bool = False
    """Who is let in; changes no number and stands outside the fingerprint."""

    @property
    def pixels(self) -> int:
        """Side of the square canvas."""
        return self.canvas.pixels

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per channel, subtracted from pixels in `[0, 1]`."""
        return self.normalise.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Per channel, divided by."""
        return self.normalise.std

    @property
    def resize_backend(self) -> str:
        """Which arithmetic resamples: a matrix product on the device, or Pillow before it."""
        return "matmul-float32" if isinstance(self.canvas, FieldCanvas) else "pillow"

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


_DINOATTEN3D = Preprocessing(
    orient=OrientSpec(),
    foreground=ForegroundSpec(),
    intensity=SliceMinMax(),
    canvas=CropCanvas(),
    normalise=NormaliseSpec(),
    slices=Center(n=50, of="array"),
)

PRESETS: dict[PresetName, Preprocessing] = {
    "letterbox": Preprocessing(
        orient=OrientSpec(),
        foreground=ForegroundSpec(),
        intensity=Percentile(),
        canvas=FieldCanvas(),
        normalise=NormaliseSpec(),
        slices=WithForeground(),
    ),
    "dinoatten3d": _DINOATTEN3D,
    "dinoatten3d_released": Preprocessing(
        orient=OrientSpec(to="stored"),
        foreground=_DINOATTEN3D.foreground,
        intensity=_DINOATTEN3D.intensity,
        canvas=_DINOATTEN3D.canvas,
        normalise=_DINOATTEN3D.normalise,
        slices=Center(n=50, of="array", short="wrap"),
    ),
}
"""`dinoatten3d` follows arXiv 2509.12512 in the house orientation; `..._released` repeats its code."""


def preprocessing_of(
    preset: PresetName, overrides: StepOverrides, allow_unknown_orientation: bool = False
) -> Preprocessing:
    """A preset with single steps replaced."""
    base = PRESETS[preset]
    return Preprocessing(
        orient=overrides.orient or base.orient,
        foreground=overrides.foreground or base.foreground,
        intensity=overrides.intensity or base.intensity,
        canvas=_canvas(base.canvas, overrides),
        normalise=overrides.normalise or base.normalise,
        slices=overrides.slices or base.slices,
        allow_unknown_orientation=allow_unknown_orientation,
    )


def _canvas(base: FieldCanvas | CropCanvas, overrides: StepOverrides) -> FieldCanvas | CropCanvas:
    """The preset's canvas, or the given one, or the preset's with other pixels or another field."""
    canvas = base
    if isinstance(overrides.canvas, int):
        update: dict[str, Any] = {"pixels": overrides.canvas}
        if isinstance(base, CropCanvas):  # the crop keeps the share of the image that it shows
            update["resize"] = round(base.resize * overrides.canvas / base.pixels)
        canvas = type(base).model_validate({**base.model_dump(), **update})
    elif overrides.canvas is not None:
        canvas = overrides.canvas
    if overrides.field_mm is None:
        return canvas
    if isinstance(canvas, FieldCanvas):
        return FieldCanvas.model_validate({**canvas.model_dump(), "field_mm": overrides.field_mm})
    return FieldCanvas(field_mm=overrides.field_mm, pixels=canvas.pixels)
