"""Volumes inside HDF5 files: `scans.h5:/dataset`, placed by attributes or by the manifest.

A dataset of numbers alone has no left and no top. Its place in the world is its `affine` attribute, or else
an orientation and voxel sizes, each as an attribute (`orientation`, `spacing_mm`) or a manifest column.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import axcodes2ornt
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from cache_schema.common.errors import VolumeError
from cache_schema.files.h5.caps import UnusualHdf5, require_in_file, within
from extract.sources.candidate import Candidate
from extract.volume.headers import BROKEN, one_line, open_image, refuse_by_content, stated_affine

AFFINE, ORIENTATION, SPACING = "affine", "orientation", "spacing_mm"
DATASETS_LISTED = 5


class Dataset:
    """Reads its voxels when an array is made of it, so that planning reads none."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
        """Nothing stays open."""
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype
        self.ndim = len(shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All voxels; always a new array."""
        import h5py

        with h5py.File(self.path, "r") as file:
            values: NDArray[Any] = file[self.name][()]
        return values if dtype is None else values.astype(dtype, copy=False)


def open_volume(candidate: Candidate) -> Any:
    """Open a candidate without reading its voxels.

    Raises:
        VolumeError: With what the file is instead.
    """
    return open_dataset(candidate) if candidate.dataset else open_image(candidate.path)


def open_dataset(candidate: Candidate) -> SpatialImage:
    """A dataset as an image with an affine.

    Raises:
        VolumeError: If there is none, or it does not say how it lies.
    """
    import h5py

    path, name = candidate.path, candidate.dataset
    refuse_by_content(path, hdf5=True)
    try:
        with h5py.File(path, "r") as file:
            found = within(file, name)
            if not isinstance(found, h5py.Dataset):
                raise VolumeError(
                    f"there is no dataset {name!r} in {path.name!r}, which has {_listing(file)}"
                )
            require_in_file(found, name)
            voxels = Dataset(path, name, tuple(found.shape or ()), found.dtype)
            attributes = {
                key: found.attrs[key] for key in (AFFINE, ORIENTATION, SPACING) if key in found.attrs
            }
    except UnusualHdf5 as error:
        raise VolumeError(f"{error}; only numbers that lie in {path.name!r} itself are read") from error
    except BROKEN as error:
        raise VolumeError(f"not a readable HDF5 file: {one_line(error)}") from error
    shape = voxels.shape
    if len(shape) < 3 or voxels.dtype.fields is not None or voxels.dtype.kind not in "fiub":
        affine = np.eye(4)  # `read_facts` refuses it for what it is
    else:
        affine = _affine(candidate, attributes, (shape[0], shape[1], shape[2]))
    return SpatialImage(voxels, affine)


def _affine(
    candidate: Candidate, attributes: Mapping[str, Any], shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    """From the affine attribute, or from axis codes and voxel sizes."""
    if AFFINE in attributes:
        affine = _numbers(attributes[AFFINE], AFFINE)
        if affine.size != 16:
            raise VolumeError(f"the attribute {AFFINE!r} must have 4 x 4 numbers, it has {affine.size}")
        return affine.reshape(4, 4)
    codes = candidate.orientation or _text(attributes.get(ORIENTATION)).upper()
    if not _are_codes(codes):
        raise VolumeError(
            "the dataset does not say its orientation: give it an 'affine' or 'orientation' attribute, or "
            "the manifest an orientation column with axis codes such as RAS"
        )
    if candidate.spacing_mm is not None:
        spacing = np.asarray(candidate.spacing_mm)
    elif SPACING in attributes:
        spacing = _numbers(attributes[SPACING], SPACING)
    else:
        raise VolumeError(
            "the dataset does not say its voxel sizes: give it an 'affine' or 'spacing_mm' attribute, or "
            "the manifest a spacing_mm column such as 1x1x1.2"
        )
    if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise VolumeError(f"spacing_mm must be three positive numbers, not {spacing.tolist()}")
    return stated_affine(codes, shape, spacing)


def _are_codes(text: str) -> bool:
    if len(text) != 3 or not set(text) <= set("LRAPSI"):
        return False
    return len(set(axcodes2ornt(text)[:, 0])) == 3


def _numbers(value: Any, name: str) -> NDArray[np.float64]:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise VolumeError(f"the attribute {name!r} must be numbers, not {value!r}") from error


def _text(value: Any) -> str:
    """An attribute as text, however it was stored."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")


def _listing(file: Any) -> str:
    """The first datasets of a file, by name."""
    import h5py

    names: list[str] = []
    try:
        file.visititems(
            lambda name, item: names.append(f"/{name}") if isinstance(item, h5py.Dataset) else None
        )
    except BROKEN:
        return "a damaged list of them"
    if not names:
        return "no dataset"
    return ", ".join(names[:DATASETS_LISTED]) + (
        f" and {len(names) - DATASETS_LISTED} more" if len(names) > DATASETS_LISTED else ""
    )
