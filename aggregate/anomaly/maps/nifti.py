"""The only door of stage two to image files: lesion masks in, anomaly maps out. nibabel comes when called.

A map carries the geometry of the image that it belongs to. The record of a volume has the affine, but not
the qform, sform and codes it came from; so where the image can still be read and says what the record says,
these header fields are copied bit for bit, and nothing else is (descriptions and extensions may name
people). Elsewhere the record's affine is written as the sform with code 1, in float32 as NIfTI-1 has it.
"""

import gzip
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import SlicecacheError
from cache_schema.files.disk.whole import replacing
from cache_schema.format.record import VolumeRecord

NIFTI = (".nii", ".nii.gz", ".img", ".img.gz", ".hdr")

GEOMETRY = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
"""Header fields that say where a voxel lies; with the first four of `pixdim`."""

GeometryFrom = Literal["image", "record"]

READ = (*NIFTI, ".mgz", ".mgh")
"""Endings of images whose voxels can be shown beside a map."""


def source_image(record: VolumeRecord, root: Path | None) -> Path | None:
    """The NIfTI file that a volume came from, if the record names it and it is still there.

    Args:
        record: Of the volume.
        root: Stage one's input root, which `record.source.path` starts from.
    """
    name = record.source.path
    if root is None or not name or name.startswith("sha256:") or not name.lower().endswith(NIFTI):
        return None
    path = root / name
    return path if path.is_file() else None


def write_map(
    path: Path,
    values: NDArray[np.float32] | NDArray[np.int16],
    record: VolumeRecord,
    image: Path | None = None,
) -> GeometryFrom:
    """Write a map in the volume's own space, whole or not at all, in the dtype that it has.

    Args:
        path: A `.nii` or `.nii.gz`; its folder is made.
        values: Native `(i, j, k)`.
        record: Of the volume.
        image: The image itself, from `source_image`.

    Returns:
        Whether the geometry is the image's header's or the record's. An image of another shape or affine
        than the record's was changed since, or its orientation was stated by the manifest: the record is
        obeyed then.

    Raises:
        SlicecacheError: If the values do not have the volume's shape.
    """
    import nibabel

    if values.shape != record.geometry.native_shape:
        raise SlicecacheError(
            f"the map of {record.key} has the shape {values.shape}, the volume {record.geometry.native_shape}"
        )
    header = None if image is None else _geometry_of(image, record)
    if header is None:
        made = _from_record(values, record)
    else:
        header.set_data_dtype(values.dtype)
        header.set_data_shape(values.shape)
        two = isinstance(header, nibabel.Nifti2Header)
        made = (nibabel.Nifti2Image if two else nibabel.Nifti1Image)(values, None, header)
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    with replacing(path, ending=ending) as beside:
        nibabel.save(made, beside)
    return "record" if header is None else "image"


def _geometry_of(image: Path, record: VolumeRecord) -> Any | None:
    """A bare header with the image's geometry; None if it is not the geometry of the record."""
    import nibabel

    try:
        with _readable(image.name):
            found = _loaded(image)
    except SlicecacheError:
        return None
    if not isinstance(found, nibabel.Nifti1Pair):
        return None
    same = _volume_shape(found) == record.geometry.native_shape
    if not same or not np.array_equal(found.affine, np.asarray(record.geometry.affine)):
        return None
    two = isinstance(found.header, nibabel.Nifti2Header)
    header = (nibabel.Nifti2Header if two else nibabel.Nifti1Header)()
    for name in GEOMETRY:
        header[name] = found.header[name]
    header["pixdim"][:4] = found.header["pixdim"][:4]
    return header


def _volume_shape(image: Any) -> tuple[int, ...]:
    """The lengths of an image without trailing axes of length 1 beyond the third."""
    shape = tuple(int(length) for length in image.shape)
    return shape[:3] if all(length == 1 for length in shape[3:]) else shape


def _from_record(values: NDArray[Any], record: VolumeRecord) -> Any:
    """A NIfTI-1 image with the record's affine as sform, code 1; without codes if it is unknown."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_zooms(record.geometry.spacing_mm)
    header.set_xyzt_units("mm")
    if record.geometry.orientation != "unknown":
        header.set_sform(np.asarray(record.geometry.affine), code=1)
    # An affine beside the header would bring nibabel's own codes.
    return nibabel.Nifti1Image(values, None, header)


def nifti_bytes(values: NDArray[np.uint8], record: VolumeRecord, slope: float, start: float) -> bytes:
    """An image in the record's geometry and nothing else of the original, as the bytes of a `.nii.gz`.

    Args:
        values: Native `(i, j, k)`.
        record: Of the volume.
        slope: What a step of the values stands for.
        start: What 0 stands for.
    """
    header = _from_record(values, record).header.copy()
    header.set_slope_inter(slope, start)
    header["vox_offset"], header["magic"] = 352, b"n+1"  # behind itself and four bytes of no extension
    data = header.binaryblock + bytes(4) + values.tobytes(order="F")
    return gzip.compress(data, compresslevel=6, mtime=0)


def read_lesion_mask(path: Path, record: VolumeRecord) -> NDArray[np.bool_]:
    """Read a lesion mask on the volume's own grid, `(i, j, k)`: values of at least 0.5 are lesion.

    Raises:
        SlicecacheError: If it cannot be read, is not finite, or lies on another grid: another shape, or
            corners more than half a voxel from the volume's.
    """
    where = f"the lesion mask {path.name!r} of {record.key}"
    geometry = record.geometry
    with _readable(where):
        image = _loaded(path)
    if _volume_shape(image) != geometry.native_shape:
        raise SlicecacheError(
            f"{where} has the shape {_volume_shape(image)}, the volume {geometry.native_shape}: a mask on "
            "the volume's own grid is expected, so resample it first"
        )
    with _readable(where):
        values = np.asarray(image.dataobj)
    apart = _corners_apart(np.asarray(image.affine), np.asarray(geometry.affine), geometry.native_shape)
    near = apart <= min(geometry.spacing_mm) / 2  # not so where the mask's affine holds NaN
    if _says_where(image) and geometry.orientation != "unknown" and not near:
        raise SlicecacheError(
            f"{where} lies {apart:.1f} mm beside the volume: a mask on the volume's own grid is expected"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise SlicecacheError(f"{where} holds NaN or infinity")
    return np.asarray(values.reshape(geometry.native_shape, order="A") >= 0.5)


def _loaded(path: Path) -> Any:
    """An image whose voxels are not read yet."""
    import nibabel

    return nibabel.load(path)


def read_voxels(record: VolumeRecord, root: Path | None) -> NDArray[Any]:
    """Read the image that a volume was embedded from, native `(i, j, k)`; what is not finite is 0.

    Args:
        record: Of the volume.
        root: Stage one's input root, which `record.source.path` starts from.

    Raises:
        SlicecacheError: Saying in a few words why there is no image, without a path.
    """
    name = record.source.path
    if not name or name.startswith(("sha256:", "/")) or ".." in Path(name).parts:
        raise SlicecacheError("the store does not say where the image lies")
    if root is None or not (path := root / name).is_file():
        raise SlicecacheError("the image is not where it was embedded from")
    if not name.lower().endswith(READ):
        raise SlicecacheError("images of this kind are not shown")
    with _readable("the image"), open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != record.source.sha256:
        raise SlicecacheError("the image has changed since it was embedded")
    with _readable("the image"):
        values = np.asarray(_loaded(path).dataobj)
    if values.size != np.prod(record.geometry.native_shape) or values.dtype.kind not in "iufb":
        raise SlicecacheError("the image has another shape than the store says")
    values = values.reshape(record.geometry.native_shape, order="A")
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if values.dtype.kind == "f" else values


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Say in a sentence what nibabel says of a damaged file in a dozen kinds of errors, and with warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SlicecacheError(f"{what} cannot be read: {reason}") from error


def _says_where(image: Any) -> bool:
    """Whether a mask has a position of its own; one without codes is taken voxel by voxel."""
    import nibabel

    if not isinstance(image, nibabel.Nifti1Pair):
        return not isinstance(image, nibabel.AnalyzeImage)
    return bool(image.header["qform_code"] > 0 or image.header["sform_code"] > 0)


def _corners_apart(
    one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, int, int]
) -> float:
    """Largest distance in mm between the corners of one grid under two affines."""
    ends = [(0, length - 1) for length in shape]
    corners = np.array([[i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]], dtype=np.float64)
    with np.errstate(all="ignore"):
        return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())
