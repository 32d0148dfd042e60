"""Volumes inside HDF5 files: `scans.h5:/dataset`, placed by attributes or by the manifest.

A dataset of numbers alone has no left and no top. Its place in the world is its `affine` attribute, or else
an orientation and voxel sizes, each as an attribute (`orientation`, `spacing_mm`) or a manifest column.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import axcodes2ornt
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from cache_schema.common.errors import VolumeError
from cache_schema.files.h5.apart import ask
from cache_schema.files.h5.caps import UnusualHdf5
from cache_schema.files.h5.running import UnreadableHdf5
from extract.sources.candidate import Candidate
from extract.volume.headers import one_line, open_image, refuse_by_content, stated_affine

AFFINE, ORIENTATION, SPACING = "affine", "orientation", "spacing_mm"


class Dataset:
    """Reads its voxels when an array is made of it, so that planning reads none."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
        """Nothing stays open."""
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype
        self.ndim = len(shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All voxels; always a new array."""
        shape, stored = list(self.shape), self.dtype.str
        most = math.prod(shape) * self.dtype.itemsize
        _, body = ask("voxels", self.path, most=most, name=self.name, shape=shape, dtype=stored)
        values: NDArray[Any] = np.frombuffer(body, dtype=self.dtype).reshape(shape)
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
    path, name = candidate.path, candidate.dataset
    refuse_by_content(path, hdf5=True)
    try:
        said, _ = ask("dataset", path, name=name, attributes=[AFFINE, ORIENTATION, SPACING])
        if "there" in said:
            raise VolumeError(f"there is no dataset {name!r} in {path.name!r}, which has {said['there']}")
        voxels = Dataset(path, name, tuple(map(int, said["shape"])), _dtype(said))
        attributes = {key: Attribute(**each) for key, each in said["attributes"].items()}
    except UnusualHdf5 as error:
        raise VolumeError(f"{error}; only numbers that lie in {path.name!r} itself are read") from error
    except (UnreadableHdf5, KeyError, TypeError, ValueError) as error:
        raise VolumeError(f"not a readable HDF5 file: {one_line(error)}") from error
    shape = voxels.shape
    if len(shape) < 3 or voxels.dtype.fields is not None or voxels.dtype.kind not in "fiub":
        affine = np.eye(4)  # `read_facts` refuses it for what it is
    else:
        affine = _affine(candidate, attributes, (shape[0], shape[1], shape[2]))
    image = SpatialImage(voxels, affine)
    image.file_map["image"].filename = str(path)
    return image


@dataclass(frozen=True, slots=True)
class Attribute:
    """What was said of an attribute: numbers, if it is some, and a text, if it is one."""

    shape: list[int] | None
    numbers: list[float]
    """The first of them."""
    text: str
    shown: str

    def as_numbers(self, name: str) -> NDArray[np.float64]:
        """Few numbers.

        Raises:
            VolumeError: If it is something else.
        """
        if self.shape is None or math.prod(self.shape) != len(self.numbers):
            raise VolumeError(f"the attribute {name!r} must be numbers, not {self.shown}")
        return np.array(self.numbers, dtype=np.float64).reshape(self.shape)


def _dtype(said: Mapping[str, Any]) -> "np.dtype[Any]":
    """Of a dataset's numbers; one that is refused for its fields has their names."""
    return np.dtype([(name, "u1") for name in said["fields"]]) if said["fields"] else np.dtype(said["dtype"])


def _affine(
    candidate: Candidate, attributes: Mapping[str, Attribute], shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    """From the affine attribute, or from axis codes and voxel sizes."""
    if AFFINE in attributes:
        affine = attributes[AFFINE].as_numbers(AFFINE)
        if affine.size != 16:
            raise VolumeError(f"the attribute {AFFINE!r} must have 4 x 4 numbers, it has {affine.size}")
        return affine.reshape(4, 4)
    stated = attributes[ORIENTATION].text if ORIENTATION in attributes else ""
    codes = candidate.orientation or stated.upper()
    if not _are_codes(codes):
        raise VolumeError(
            "the dataset does not say its orientation: give it an 'affine' or 'orientation' attribute, or "
            "the manifest an orientation column with axis codes such as RAS"
        )
    if candidate.spacing_mm is not None:
        spacing = np.asarray(candidate.spacing_mm)
    elif SPACING in attributes:
        spacing = attributes[SPACING].as_numbers(SPACING)
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
