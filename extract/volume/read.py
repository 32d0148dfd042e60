"""Read one volume: deterministic numbers, in native axes, with everything that is odd about it said."""

import hashlib
import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import DTypeLike, NDArray

from cache_schema.common.errors import VolumeError
from cache_schema.format.inputs import Inputs
from cache_schema.format.record import SourceFile
from extract.sources.candidate import Candidate
from extract.volume.gzipped import stored_voxels
from extract.volume.hdf5 import open_volume
from extract.volume.headers import BROKEN, Facts, one_line, open_image, quiet, read_facts
from extract.volume.inputs import Watch
from extract.volume.staged import staged


@dataclass(frozen=True, slots=True)
class Voxels:
    """A volume as stored, with finite voxels."""

    data: NDArray[np.floating]
    """Native axes `(i, j, k)`, scale_voxels by the header's slope and intercept."""
    facts: Facts
    source: SourceFile
    nan_voxels: int
    """Non-finite voxels that were set to background."""
    mask: NDArray[np.floating] | None = None
    """The foreground mask that the candidate names, on the same grid."""
    inputs: Inputs | None = None
    """All that was read; None for what is in memory."""


def read_volume(
    candidate: Candidate, *, allow_unknown_orientation: bool = False, dtype: DTypeLike = np.float32
) -> Voxels:
    """Read a candidate's voxels, its foreground mask if it names one, and digest what was read.

    Args:
        candidate: What to read.
        allow_unknown_orientation: See `extract.volume.headers.read_facts`.
        dtype: float32, or float64 where a published method computes in it.

    Raises:
        VolumeError: If it cannot be used, with one sentence that says why.
    """
    wanted = np.dtype(dtype)
    return read_volumes(candidate, (wanted,), allow_unknown_orientation=allow_unknown_orientation)[wanted]


def read_volumes(
    candidate: Candidate, dtypes: Collection[np.dtype[Any]], *, allow_unknown_orientation: bool = False
) -> dict[np.dtype[Any], Voxels]:
    """Read a candidate once, for several who want its voxels in several dtypes; as `read_volume`."""
    try:
        watch = Watch.over(candidate)
    except OSError as error:
        raise VolumeError(f"cannot be read: {error.strerror}") from error
    with staged(candidate, watch.paths) as (here, paths):
        with quiet():
            image = open_volume(here)
            facts = read_facts(image, here, allow_unknown_orientation)
            several = _in_each(image, facts, dtypes)
        mask = None
        if here.foreground_path is not None:
            mask = read_foreground_mask(here.foreground_path, here, facts)
        inputs = watch.inputs(paths)
    file = inputs.files["image"]
    source = SourceFile(path=candidate.source, bytes=file.bytes, mtime_ns=file.mtime_ns, sha256=file.sha256)
    return {
        dtype: Voxels(data, facts, source, nan_voxels, mask, inputs)
        for dtype, (data, nan_voxels) in ((each, without_nan(data)) for each, data in several.items())
    }


def _in_each(
    image: Any, facts: Facts, dtypes: Collection[np.dtype[Any]]
) -> dict[np.dtype[Any], NDArray[np.floating]]:
    """The scaled voxels in each dtype, the widest decoded and the others rounded from it.

    All scaling is computed in float64, so that rounding its result gives what was asked for, unless what is
    stored does not fit float64 itself: such a volume is decoded once more.
    """
    widest = max(dtypes, key=lambda dtype: dtype.itemsize)
    data = _data_of(image, facts, widest)
    if len(dtypes) == 1:
        return {widest: data}
    stored = np.dtype(image.dataobj.dtype)
    exact = stored.itemsize <= (8 if stored.kind == "f" else 4)
    return {
        dtype: data if dtype == widest else _rounded(data, dtype) if exact else _data_of(image, facts, dtype)
        for dtype in dtypes
    }


def _rounded(data: NDArray[np.floating], dtype: np.dtype[Any]) -> NDArray[np.floating]:
    with np.errstate(over="ignore", invalid="ignore"):
        return data.astype(dtype, order="K")


def voxels_of_image(
    image: Any,
    candidate: Candidate,
    *,
    allow_unknown_orientation: bool = False,
    dtype: DTypeLike = np.float32,
) -> Voxels:
    """Take the voxels of an image that is in memory, or that somebody opened.

    Args:
        image: Of nibabel.
        candidate: Says what it is called.
        allow_unknown_orientation: See `extract.volume.headers.read_facts`.
        dtype: As for `read_volume`.

    Raises:
        VolumeError: If it cannot be used, with one sentence that says why.
    """
    with quiet():
        facts = read_facts(image, candidate, allow_unknown_orientation)
        data = _data_of(image, facts, dtype)
    digest = hashlib.sha256(np.ascontiguousarray(data).data)
    digest.update(np.ascontiguousarray(facts.affine).data)
    source = SourceFile(path=candidate.source, bytes=data.nbytes, mtime_ns=0, sha256=digest.hexdigest())
    data, nan_voxels = without_nan(data)
    return Voxels(data, facts, source, nan_voxels)


def _data_of(image: Any, facts: Facts, dtype: DTypeLike) -> NDArray[np.floating]:
    """The scaled voxels, `(i, j, k)`."""
    try:
        return scale_voxels(image.dataobj, np.dtype(dtype)).reshape(facts.shape, order="A")
    except (EOFError, zlib.error) as error:
        raise VolumeError(f"the file is cut short or damaged ({one_line(error)}): copy it again") from error
    except BROKEN as error:
        raise VolumeError(f"the voxels cannot be read: {one_line(error)}") from error


def read_foreground_mask(path: Path, candidate: Candidate, facts: Facts) -> NDArray[np.floating]:
    """Read a foreground mask on the volume's own grid, `(i, j, k)`.

    Raises:
        VolumeError: If it cannot be read or lies on another grid.
    """
    called = f"the foreground mask {path.name!r}"
    try:
        with quiet():
            image = open_image(path)
    except VolumeError as error:
        raise VolumeError(f"{called}: {one_line(error)}") from error
    return mask_of_image(image, called, candidate, facts)


def mask_of_image(image: Any, called: str, candidate: Candidate, facts: Facts) -> NDArray[np.floating]:
    """A foreground mask on the volume's own grid, `(i, j, k)`, from an image.

    Raises:
        VolumeError: If it cannot be read or lies on another grid.
    """
    try:
        with quiet():
            mask = read_facts(image, candidate, allow_unknown_orientation=True)
            values = scale_voxels(image.dataobj, np.dtype(np.float32)).reshape(mask.shape, order="A")
    except (VolumeError, *BROKEN) as error:
        raise VolumeError(f"{called}: {one_line(error)}") from error
    if mask.orientation != "unknown" and facts.orientation != "unknown" and not _same_grid(mask, facts):
        values, mask = along_axes_of(facts.affine, values, mask)
    if mask.shape != facts.shape:
        raise VolumeError(f"{called} has the shape {mask.shape}, the volume {facts.shape}")
    if mask.orientation != "unknown" and not _same_grid(mask, facts):
        raise VolumeError(f"{called} lies {_apart_mm(mask, facts):.1f} mm beside the volume")
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _same_grid(mask: Facts, facts: Facts) -> bool:
    """Whether a mask's voxels are the volume's, to less than one of them."""
    return mask.shape == facts.shape and _apart_mm(mask, facts) <= min(facts.spacing_mm)


def _apart_mm(mask: Facts, facts: Facts) -> float:
    """How far the corners of two grids of one shape lie apart at most, along any axis of the world."""
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in facts.shape))], np.float64)
    return float(np.abs(corners @ (mask.affine - facts.affine).T).max())


def along_axes_of(
    wanted: NDArray[np.float64], values: NDArray[np.floating], mask: Facts
) -> tuple[NDArray[np.floating], Facts]:
    """A mask with its axes flipped and exchanged to run as those of another affine.

    Tools write masks of a scan in RAS+ whatever the order of the scan's axes.
    """
    turn = ornt_transform(io_orientation(mask.affine), io_orientation(wanted))
    turned = np.asarray(apply_orientation(values, turn))
    affine = np.asarray(mask.affine @ inv_ornt_aff(turn, values.shape))
    i, j, k = turned.shape
    return turned, replace(mask, shape=(i, j, k), affine=affine)


def scale_voxels(dataobj: Any, dtype: np.dtype[Any]) -> NDArray[np.floating]:
    """`stored * slope + intercept`, computed in float64 and rounded once, whatever the library versions."""
    if type(dataobj) is not ArrayProxy:
        return np.asanyarray(dataobj).astype(dtype, copy=False)
    stored, slope, intercept = stored_voxels(dataobj), float(dataobj.slope), float(dataobj.inter)
    with np.errstate(over="ignore", invalid="ignore"):
        if (slope, intercept) == (1.0, 0.0):
            return stored.astype(dtype, order="K", copy=False)
        if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
            # Few possible values: scale those once, exactly, and look every voxel up.
            lowest = np.iinfo(stored.dtype).min
            levels = np.arange(lowest, np.iinfo(stored.dtype).max + 1, dtype=np.float64)
            table = (levels * slope + intercept).astype(dtype)
            # An unsigned view wraps negative values to the end of the table; roll it to match.
            native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
            unsigned = native.view(f"u{stored.dtype.itemsize}")
            return np.roll(table, lowest)[unsigned]
        return (stored * np.float64(slope) + intercept).astype(dtype, order="K", copy=False)


def without_nan(data: NDArray[np.floating]) -> tuple[NDArray[np.floating], int]:
    """Set non-finite voxels to background: 0, or the smallest value where that is negative.

    Raises:
        VolumeError: If no voxel is finite.
    """
    finite = np.isfinite(data)
    count = int(data.size - np.count_nonzero(finite))
    if count == 0:
        return data, 0
    if count == data.size:
        raise VolumeError("no voxel is finite")
    return np.where(finite, data, min(data.min(where=finite, initial=0.0), 0.0)), count
