"""One volume from file to slice images: what runs in spawned processes, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import VolumeError
from cache_schema.format.plane import NORMAL
from cache_schema.format.record import Geometry, Slices, UsedForeground, VolumeDraft
from extract.slices.canvas import (
    Axis,
    CropOrPadCanvas,
    FieldCanvas,
    canvas_to_native,
    crop_or_pad_axes,
    field_axes,
    outside_share,
)
from extract.slices.foreground import FoundForeground, find_foreground, mask_voxels
from extract.slices.images import Sliced, first_equal, on_canvas
from extract.slices.intensity import (
    QUANTILES,
    masked_values,
    quantile_names,
    quantiles,
)
from extract.slices.preprocessing import Preprocessing
from extract.slices.resize import Resize, resize_of, resized_axes
from extract.slices.rules import Extent, find_extent
from extract.slices.sides import sides
from extract.slices.tone import Tone
from extract.slices.view import Turn, mirrored, turn_of
from extract.sources.candidate import Candidate
from extract.volume.orient import as_stack, stack_spacing, stack_to_native
from extract.volume.read import Voxels, read_volumes

OUTSIDE_WARNING = 0.02
"""Share of the foreground outside the field that is worth a warning."""


@dataclass(frozen=True, slots=True)
class PreparedVolume:
    """A volume's slice images, and how they come onto the canvas."""

    draft: VolumeDraft
    images: NDArray[np.generic]
    """`(slice, height, width)`: before resampling, in float32 or, with a `tone`, int16 as they are stored; or
    on the canvas already, in 8 bits or float32."""
    mask: NDArray[np.uint8]
    """Foreground (0 or 1) on the same grid as `images`."""
    row_weights: NDArray[np.float32] | None
    """`(canvas, height)`; None when `images` are on the canvas already."""
    column_weights: NDArray[np.float32] | None
    """`(canvas, width)`; the canvas image is `row_weights @ image @ column_weights.T + background`."""
    resize: Resize | None = None
    """What the device does to `images` and `mask`; None when it resamples by weights or not at all."""
    background: float = 0.0
    """Grey value of what lies outside the volume."""
    span: tuple[float, float] = (0.0, 1.0)
    """The grey values that a picture shows as black and as white."""
    tone: Tone | None = None
    """What the device does to `images` first; None where they are grey values."""
    firsts: NDArray[np.intp] | None = None
    """For each slice the first one of equal bytes; None where all differ, or nobody has looked."""
    flipped: tuple[int, ...] = ()
    """Axes that the device mirrors once the slices are on the canvas."""


@dataclass(frozen=True, slots=True)
class _Stack:
    """A volume as a stack of slices, all views `(slice, row, column)`."""

    data: NDArray[np.floating]
    mask: NDArray[np.bool_]
    to_native: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    """Along slices, rows and columns."""
    extent: Extent


def prepare_volume(candidate: Candidate, preprocessing: Preprocessing) -> PreparedVolume:
    """Read, orient, find the foreground, choose slices and scale intensities.

    Raises:
        VolumeError: If the volume cannot be used.
    """
    (prepared,) = prepare_each(candidate, (preprocessing,))
    if isinstance(prepared, VolumeError):
        raise prepared
    return prepared


def prepare_each(
    candidate: Candidate, several: Sequence[Preprocessing]
) -> tuple[PreparedVolume | VolumeError, ...]:
    """As `prepare_volume` for each of several, which let in the same volumes; the files are read once.

    Returns:
        For each what it made, the same object for equal ones, or why it cannot use the volume.

    Raises:
        VolumeError: If the volume cannot be read.
    """
    start = perf_counter()
    volumes = read_volumes(
        candidate,
        {np.dtype(each.read_dtype) for each in several},
        allow_unknown_orientation=several[0].allow_unknown_orientation,
    )
    seconds = perf_counter() - start
    made: list[PreparedVolume | VolumeError] = []
    foregrounds: dict[tuple[object, ...], FoundForeground] = {}
    for place, each in enumerate(several):
        if (same := several.index(each)) < place:
            made.append(made[same])
            continue
        volume = volumes[np.dtype(each.read_dtype)]
        rules = (each.foreground, each.orient, volume.data.dtype)
        try:
            if rules not in foregrounds:
                foregrounds[rules] = _foreground(volume, volume.mask, each)
            found = foregrounds[rules]
            made.append(prepare_voxels(candidate, volume, volume.mask, each, seconds, found))
        except VolumeError as error:
            made.append(error)
    return tuple(made)


def prepare_voxels(
    candidate: Candidate,
    volume: Voxels,
    given_mask: NDArray[np.floating] | None,
    preprocessing: Preprocessing,
    read_seconds: float = 0.0,
    found: FoundForeground | None = None,
) -> PreparedVolume:
    """Orient what was read, find the foreground, choose slices and scale intensities.

    Args:
        candidate: Whose it is.
        volume: What was read.
        given_mask: A foreground mask `(i, j, k)` on its grid; without one the rules find it.
        preprocessing: The steps.
        read_seconds: What reading took, for the record.
        found: What these rules have found already, for another store.

    Raises:
        VolumeError: If the volume cannot be used.
    """
    start = perf_counter()
    found = found or _foreground(volume, given_mask, preprocessing)
    facts = volume.facts
    to_native = stack_to_native(facts.affine, facts.shape, preprocessing.orient, preprocessing.plane)
    stack = _stack(volume, found, preprocessing, to_native)
    kept = preprocessing.slices.keep(stack.extent)
    there = kept[(kept >= 0) & (kept < stack.extent.n)]
    if there.size == 0:
        raise VolumeError(f"the slice rule {preprocessing.slices.kind!r} keeps no slice of {stack.extent.n}")
    values = masked_values(volume.data, found.mask)
    levels = quantiles(values, QUANTILES)
    rows, columns, resize = _axes(preprocessing, stack)
    source = Sliced(
        images=stack.data[_span(there)],
        mask=stack.mask[_span(there)],
        padding=(int(np.count_nonzero(kept < 0)), int(np.count_nonzero(kept >= stack.extent.n))),
        volume=stack.data,
        foreground=values,
        rows=rows,
        columns=columns,
        resize=resize,
        turn=_turn(preprocessing, stack),
    )
    outside = outside_share(source.mask, rows, columns)
    prepared = on_canvas(preprocessing, source)
    draft = VolumeDraft(
        participant_id=candidate.key.participant_id,
        session_id=candidate.key.session_id,
        volume_id=candidate.key.volume_id,
        entities=candidate.entities,
        source=volume.source,
        geometry=_geometry(
            volume, _shown_to_native(preprocessing, to_native, source), stack, source, outside
        ),
        slices=_slices(volume, stack, kept, NORMAL[preprocessing.plane]),
        foreground=UsedForeground(
            kind=found.kind,
            millilitres=round(np.count_nonzero(found.mask) * _voxel_ml(volume), 3),
            nan_voxels=volume.nan_voxels,
        ),
        intensity_quantiles=quantile_names(QUANTILES, levels),
        warnings=_warnings(volume, stack, outside, NORMAL[preprocessing.plane]),
        seconds={"read": read_seconds, "prepare": perf_counter() - start},
        inputs=volume.inputs,
    )
    flipped = () if preprocessing.view is None else preprocessing.view.flipped
    return PreparedVolume(draft, *prepared, first_equal(prepared.images, prepared.mask), flipped)


def _voxel_ml(volume: Voxels) -> float:
    return float(abs(np.linalg.det(volume.facts.affine[:3, :3]))) / 1000.0


def _foreground(
    volume: Voxels, given: NDArray[np.floating] | None, preprocessing: Preprocessing
) -> FoundForeground:
    """The given mask's voxels if there is one, else what the rules find; the same for every plane."""
    if given is None:
        # Holes are filled in axial slices, whichever are kept.
        axial = stack_to_native(volume.facts.affine, volume.facts.shape, preprocessing.orient)
        axis = int(np.argmax(np.abs(axial[:3, 2])))
        return find_foreground(volume.data, _voxel_ml(volume), preprocessing.foreground, axis)
    low, high = volume.data.min(), volume.data.max()
    if low == high:
        raise VolumeError(f"every voxel is {low:g}")
    return FoundForeground(mask_voxels(given), "mask")


def _stack(
    volume: Voxels, found: FoundForeground, preprocessing: Preprocessing, to_native: NDArray[np.float64]
) -> _Stack:
    """View a volume and its foreground as slices, and find where the foreground lies along them."""
    facts = volume.facts
    mask = as_stack(found.mask, to_native)
    between, row_mm, column_mm = spacing = stack_spacing(to_native, facts.spacing_mm)
    # In the house orientation slices always grow along the normal; a stored axis may point anywhere.
    up = 1 if (facts.affine @ to_native)[NORMAL[preprocessing.plane], 2] >= 0 else -1
    extent = find_extent(mask, row_mm * column_mm, between, preprocessing.foreground.min_area_cm2, up)
    return _Stack(as_stack(volume.data, to_native), mask, to_native, spacing, extent)


def _axes(preprocessing: Preprocessing, stack: _Stack) -> tuple[Axis, Axis, Resize | None]:
    """How the canvas samples rows and columns, and how it resizes; the same for all slices of a volume."""
    canvas, (_, height, width) = preprocessing.canvas, stack.mask.shape
    if isinstance(canvas, FieldCanvas):
        upper = _upper(stack, canvas.centre_depth_mm, preprocessing)
        return *field_axes(canvas, upper, stack.spacing_mm[1:]), None
    if isinstance(canvas, CropOrPadCanvas):
        return *crop_or_pad_axes(canvas, height, width), None
    resize = resize_of(canvas, height, width)
    return *resized_axes(resize, height, width), resize


def _turn(preprocessing: Preprocessing, stack: _Stack) -> Turn | None:
    """How slices are turned: those of a field on the canvas, all others as they are stored."""
    field = isinstance(preprocessing.canvas, FieldCanvas)
    _, rows, columns = stack.mask.shape
    return turn_of(preprocessing.view, *(sides(preprocessing.pixels) if field else (rows, columns)))


def _shown_to_native(
    preprocessing: Preprocessing, to_native: NDArray[np.float64], source: Sliced
) -> NDArray[np.float64]:
    """3x4 matrix from `(row, column, slice index, 1)` on the canvas, as it is shown, to native voxels."""
    turn, field = source.turn, isinstance(preprocessing.canvas, FieldCanvas)
    if turn is not None and not field:
        to_native = to_native @ turn.homogeneous()
    matrix = canvas_to_native(to_native, source.rows, source.columns)
    if turn is not None and field:
        matrix = matrix @ turn.homogeneous()
    view = preprocessing.view
    pixels = source.rows.pixels, source.columns.pixels
    return matrix if view is None else matrix @ mirrored(view.flipped, pixels)


def _upper(stack: _Stack, depth_mm: float, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """The foreground down to some depth below the vertex, `(slice, row, column)`, whatever the plane."""
    if preprocessing.plane == "axial":
        heights = stack.extent.heights()
        return stack.mask[(heights >= 0) & (heights <= depth_mm)]
    between, row_mm, column_mm = stack.spacing_mm
    rows = stack.mask.transpose(1, 0, 2)  # row 0 is superior
    area = preprocessing.foreground.min_area_cm2
    heights = find_extent(rows, between * column_mm, row_mm, area, up=-1).heights()
    # Rows stay where they are, empty below: the field is said in them.
    return stack.mask & ((heights >= 0) & (heights <= depth_mm))[:, None]


def _span(kept: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Neighbouring slices as a range, which makes a view where a list of indices would copy."""
    first, last = int(kept[0]), int(kept[-1])
    return slice(first, last + 1) if last - first + 1 == kept.size else kept


def _geometry(
    volume: Voxels, to_native: NDArray[np.float64], stack: _Stack, source: Sliced, outside: float
) -> Geometry:
    facts, rows, columns = volume.facts, source.rows, source.columns
    return Geometry(
        native_shape=facts.shape,
        affine=_rows(facts.affine),
        orientation=facts.orientation,
        spacing_mm=facts.spacing_mm,
        oblique_degrees=facts.oblique_degrees,
        canvas=(rows.pixels, columns.pixels),
        pixel_mm=(rows.step * stack.spacing_mm[1], columns.step * stack.spacing_mm[2]),
        canvas_to_native=_rows(to_native),
        outside_field=outside,
    )


def _rows(matrix: NDArray[np.float64]) -> tuple[tuple[float, float, float, float], ...]:
    return tuple((float(row[0]), float(row[1]), float(row[2]), float(row[3])) for row in matrix)


def _slices(volume: Voxels, stack: _Stack, kept: NDArray[np.int64], normal: int) -> Slices:
    """Indices, heights from the pole and world coordinates along the normal of the kept slices' centres."""
    _, height, width = stack.data.shape
    centres = np.stack(
        [
            np.full(kept.shape, (height - 1) / 2),
            np.full(kept.shape, (width - 1) / 2),
            kept,
            np.ones(kept.shape),
        ]
    )
    world = volume.facts.affine @ stack.to_native @ centres
    return Slices(
        index=tuple(int(index) for index in kept),
        height_mm=tuple(float(height) for height in stack.extent.heights(kept)),
        world_z_mm=tuple(float(z) for z in world[normal]),
        n_volume=stack.extent.n,
        spacing_mm=stack.spacing_mm[0],
    )


def _warnings(volume: Voxels, stack: _Stack, outside: float, normal: int) -> tuple[str, ...]:
    """Everything about a usable volume that somebody should know."""
    notes = list(volume.facts.warnings)
    if volume.nan_voxels:
        notes.append(f"{volume.nan_voxels} non-finite voxels set to background")
    if outside > OUTSIDE_WARNING:
        notes.append(f"{outside:.1%} of the foreground lies outside the field")
    direction = np.abs((volume.facts.affine @ stack.to_native)[:3, 2])
    if int(np.argmax(direction)) != normal:
        notes.append("the sliced axis is not the superior one: heights are millimetres along it")
    return tuple(notes)
