"""The named preprocessings: our own, and the inputs of published systems (`docs/presets.md`)."""

from dataclasses import replace
from typing import Any, Literal

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from extract.slices.canvas import (
    AnyCanvas,
    CropCanvas,
    CropOrPadCanvas,
    FieldCanvas,
    ShorterCanvas,
    StretchCanvas,
)
from extract.slices.foreground import ForegroundSpec
from extract.slices.intensity import Percentile, SliceMinMax, Zscore
from extract.slices.preprocessing import (
    AS_THEY_ARE,
    NormaliseName,
    NormaliseSpec,
    Preprocessing,
    StepOverrides,
)
from extract.slices.rules import Center, CropOrPad, WithForeground
from extract.slices.sides import sides
from extract.volume.orient import OrientSpec

PresetName = Literal["letterbox", "dinoatten3d", "dinoatten3d_released", "mst", "anomalydino", "dpmm", "ar"]

LETTERBOX = Preprocessing(
    orient=OrientSpec(),
    foreground=ForegroundSpec(),
    intensity=Percentile(),
    canvas=FieldCanvas(),
    normalise=NormaliseSpec(),
    slices=WithForeground(),
)

DINOATTEN3D = replace(
    LETTERBOX, intensity=SliceMinMax(), canvas=CropCanvas(), slices=Center(n=50, of="array")
)

SHORTER = replace(LETTERBOX, canvas=ShorterCanvas())

PRESETS: dict[PresetName, Preprocessing] = {
    "letterbox": LETTERBOX,
    "dinoatten3d": DINOATTEN3D,
    "dinoatten3d_released": replace(
        DINOATTEN3D, orient=OrientSpec(to="stored"), slices=Center(n=50, of="array", short="wrap")
    ),
    "mst": replace(
        LETTERBOX,
        intensity=Zscore(over="canvas"),
        canvas=CropOrPadCanvas(),
        normalise=AS_THEY_ARE,
        slices=CropOrPad(n=32),
    ),
    "anomalydino": SHORTER,
    "dpmm": SHORTER,
    "ar": replace(LETTERBOX, canvas=StretchCanvas()),
}
"""`dinoatten3d` follows arXiv 2509.12512 in the house orientation; `..._released` repeats its code. `mst` is
arXiv 2411.15802, `anomalydino` 2405.14529, `dpmm` 2509.19997 (the same input), `ar` 2603.02974."""


def preprocessing_of(
    preset: PresetName, overrides: StepOverrides, allow_unknown_orientation: bool = False
) -> Preprocessing:
    """A preset with single steps replaced.

    Raises:
        ConfigError: If the steps do not go together.
    """
    base = PRESETS[preset]
    made = Preprocessing(
        orient=overrides.orient or base.orient,
        foreground=overrides.foreground or base.foreground,
        intensity=overrides.intensity or base.intensity,
        canvas=_canvas(base.canvas, overrides),
        normalise=_normalise(base.normalise, overrides.normalise),
        slices=overrides.slices or base.slices,
        allow_unknown_orientation=allow_unknown_orientation,
        plane=overrides.plane or base.plane,
        view=overrides.view if overrides.view is not None and overrides.view.changes else base.view,
    )
    if made.plane != "axial" and made.orient.to == "stored":
        raise ConfigError(
            f"extract.plane: {made.plane} is cut by the affine, and extract.orient says the stored axes: set "
            "extract.orient to {to: ras}"
        )
    over_canvas = isinstance(made.intensity, Zscore) and made.intensity.over == "canvas"
    if over_canvas and not isinstance(made.canvas, CropOrPadCanvas):
        raise ConfigError(
            "extract.intensity: a z-score over the canvas needs one of voxels, {kind: crop_or_pad}, and this "
            f"one is {made.canvas.kind!r}: set extract.intensity to {{kind: zscore, over: volume}}"
        )
    return made


def _normalise(
    base: NormaliseSpec | None, given: NormaliseSpec | NormaliseName | None
) -> NormaliseSpec | None:
    """The preset's, the given one, or None for the backbone's own."""
    match given:
        case None:
            return base
        case "imagenet":
            return NormaliseSpec()
        case "none":
            return AS_THEY_ARE
        case "model":
            return None
    return given


def _canvas(base: AnyCanvas, overrides: StepOverrides) -> AnyCanvas:
    """The preset's canvas, or the given one, or the preset's with other pixels or another field."""
    canvas, given = base, overrides.canvas
    if given == "model":
        raise ConfigError(
            "extract.canvas: model is resolved by the backbone's checkpoint, before anything else"
        )
    if isinstance(given, int | tuple):
        update: dict[str, Any] = {"pixels": given}
        if isinstance(base, CropCanvas):  # the crop keeps the share of the image that it shows
            update["resize"] = round(base.resize * max(sides(given)) / max(sides(base.pixels)))
        if isinstance(base, ShorterCanvas):
            update["resize"] = min(sides(given))
        canvas = validate(type(base), {**base.model_dump(), **update}, "extract.canvas")
    elif given is not None:
        canvas = given
    if overrides.field_mm is None:
        return canvas
    if isinstance(canvas, FieldCanvas):
        return canvas.model_copy(update={"field_mm": overrides.field_mm})
    return FieldCanvas(field_mm=overrides.field_mm, pixels=canvas.pixels)
