"""What an image file says of itself before its voxels are read, and why it cannot be used if it cannot."""

import logging
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import error as struct_error
from typing import Any

import nibabel
import numpy as np
from nibabel.affines import obliquity, voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError
from nibabel.orientations import axcodes2ornt, ornt2axcodes
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import NDArray

from cache_schema.common.errors import VolumeError
from extract.sources.candidate import Candidate
from extract.volume.inputs import companions, is_there, refuse_odd_file
from extract.volume.orient import world_axes

BROKEN = (
    OSError, EOFError, ValueError, KeyError, TypeError, OverflowError, zlib.error, struct_error,
    ImageFileError, HeaderDataError, HeaderTypeError, MGHError, RuntimeError, MemoryError,
)  # fmt: skip
"""What nibabel raises for files that are damaged or are no images."""

OBLIQUE_DEGREES = 10.0
DISAGREE_MM = 1.0
DEFLATE_LIMIT = 1032
"""No gzip stream expands by more than this, so a much smaller file cannot hold its voxels."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The header of one usable volume."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    """Native voxel indices to world mm (RAS+), 4x4."""
    orientation: str
    """Axis codes such as `PSR`, or `unknown`."""
    spacing_mm: tuple[float, float, float]
    oblique_degrees: float
    warnings: tuple[str, ...]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep nibabel's own warnings and log lines off the terminal; what matters is said in our words."""
    logger = logging.getLogger("nibabel.global")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def open_image(path: Path) -> Any:
    """Open an image without reading its voxels.

    Raises:
        VolumeError: With what the file is instead.
    """
    refuse_by_content(path)
    try:
        image = nibabel.load(path)
    except Exception as error:  # each format has errors of its own kind, down to MATLAB's
        raise VolumeError(f"not a readable image: {one_line(error)}") from error
    if not hasattr(image, "dataobj") or not hasattr(image, "affine"):
        raise VolumeError(f"a {type(image).__name__}, not a volume")
    return image


def one_line(error: BaseException) -> str:
    """An exception's text without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def refuse_by_content(path: Path, hdf5: bool = False) -> None:
    """Name the usual things that lie where an image (or an HDF5 file) should be.

    Raises:
        VolumeError: For a missing file, a folder, an empty file, a pointer, DICOM or HDF5.
    """
    if not is_there(path):
        if os.path.islink(path):
            raise VolumeError("a git-annex link whose content is not here: fetch it, e.g. with `datalad get`")
        raise VolumeError(f"there is no file {str(path)!r}")
    if os.path.isdir(path):
        raise VolumeError("a folder, not an image; convert DICOM series with dcm2niix")
    for part in companions(path).values():
        refuse_odd_file(part)
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise VolumeError(f"cannot be read: {error.strerror}") from error
    if not start:
        raise VolumeError("the file is empty (0 bytes)")
    if start.startswith(b"version https://git-lfs"):
        raise VolumeError("a git-LFS pointer, not the image: fetch it with `git lfs pull`")
    if b"/annex/objects/" in start:
        raise VolumeError("a git-annex pointer, not the image: fetch it, e.g. with `datalad get`")
    if start[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".ima"):
        raise VolumeError("DICOM: convert it with dcm2niix")
    if start.startswith(b"\x89HDF") and not hdf5 and path.suffix.lower() != ".mnc":
        raise VolumeError(f"an HDF5 file: name the dataset inside it, e.g. {path.name}:/DATASET")


def read_facts(image: Any, candidate: Candidate, allow_unknown_orientation: bool) -> Facts:
    """Check a header and gather what planning and orienting need.

    Args:
        image: From `open_image`.
        candidate: For the orientation that a manifest states.
        allow_unknown_orientation: Take a volume without one as its format stores it by default.

    Raises:
        VolumeError: If the volume cannot be used.
    """
    shape = usable_shape(image)
    affine = np.asarray(image.affine, dtype=np.float64)
    finite = affine.shape == (4, 4) and bool(np.isfinite(affine).all())
    codes: tuple[Any, ...] = ornt2axcodes(world_axes(affine.tobytes())) if finite else (None,)
    if None in codes or not abs(np.linalg.det(affine[:3, :3])) >= 1e-9:
        raise VolumeError("the affine is not invertible: voxel sizes or directions are missing")
    spacing = voxel_sizes(affine)
    notes: list[str] = []
    known = orientation_known(image)
    orientation = "".join(codes) if known else "unknown"
    if candidate.orientation:
        stated = candidate.orientation.upper()
        if stated != orientation:
            if known:
                notes.append(
                    f"the manifest states {stated}, the header says {orientation}: the manifest is obeyed"
                )
            affine, orientation = stated_affine(stated, shape, spacing), stated
    elif not known:
        if not allow_unknown_orientation:
            raise VolumeError(
                "neither qform nor sform gives the orientation: state it in the manifest's "
                "orientation column, e.g. RAS, or set allow_unknown_orientation"
            )
        notes.append(f"unknown orientation taken as {''.join(codes)}")
    else:
        notes += form_warnings(image)
    oblique = float(np.degrees(obliquity(affine)).max())
    if oblique > OBLIQUE_DEGREES:
        notes.append(
            f"oblique by {oblique:.0f} degrees: slices lie as stored, not exactly in the body's planes"
        )
    field = [size * count for size, count in zip(spacing, shape, strict=True)]
    if max(field) > 1000:
        notes.append(f"the volume is {max(field):.0f} mm long: are the voxel sizes in millimetres?")
    sizes = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return Facts(shape, affine, orientation, sizes, oblique, tuple(notes))


def usable_shape(image: Any) -> tuple[int, int, int]:
    """The three lengths of a volume; trailing axes of length 1 do not count.

    Raises:
        VolumeError: If there are not three axes, one is empty, the voxels are no real numbers, or the
            file is far too small for them.
    """
    shape = tuple(int(length) for length in image.shape)
    dtype = np.dtype(image.get_data_dtype())
    if dtype.fields is not None:
        raise VolumeError(f"colour voxels ({', '.join(dtype.fields)}): one intensity per voxel is expected")
    if dtype.kind == "c":
        raise VolumeError("complex voxels: take the magnitude first")
    if dtype.kind not in "fiub":
        raise VolumeError(f"voxels of type {dtype}, not numbers")
    if 0 in shape or not shape:
        raise VolumeError(f"empty: its shape is {shape}")
    if any(length != 1 for length in shape[3:]):
        count = int(np.prod(shape[3:]))
        raise VolumeError(
            f"{len(shape)}D with {count} volumes: one 3D volume is expected, so split it or take one"
        )
    if len(shape) < 3:
        raise VolumeError(f"{len(shape)}D: a volume has three axes, this has the shape {shape}")
    _refuse_header_only(image, int(np.prod(shape)) * dtype.itemsize)
    return shape[0], shape[1], shape[2]


def _refuse_header_only(image: Any, expected: int) -> None:
    """Refuse a file that is smaller than its voxels can be, without decompressing it.

    Raises:
        VolumeError: If voxels are missing.
    """
    holder = image.file_map.get("image") or image.file_map.get("header")
    if holder is None or holder.filename is None:
        return
    path = Path(holder.filename)
    if not path.exists():
        raise VolumeError(f"the header's voxels are missing: there is no {path.name!r} beside it")
    size = path.stat().st_size
    packed = path.suffix.lower() in (".gz", ".mgz", ".bz2", ".zst", ".h5", ".hdf5")
    if size < (expected / DEFLATE_LIMIT if packed else expected * (path.suffix.lower() in (".nii", ".img"))):
        raise VolumeError(f"a header without its voxels: {size} bytes cannot hold {expected} bytes of image")


def orientation_known(image: Any) -> bool:
    """Whether the file says where left, front and top are."""
    if isinstance(image, nibabel.Nifti1Pair):
        return bool(image.header["qform_code"] > 0 or image.header["sform_code"] > 0)
    if isinstance(image, nibabel.MGHImage):
        return bool(image.header["goodRASFlag"] > 0)
    if isinstance(image, nibabel.Spm99AnalyzeImage):
        holder = image.file_map.get("mat")
        return holder is not None and holder.filename is not None and Path(holder.filename).exists()
    return not isinstance(image, nibabel.AnalyzeImage)


def stated_affine(
    codes: str, shape: tuple[int, int, int], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The affine of stated axis codes, with the world's origin in the volume's centre."""
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for native, (axis, direction) in enumerate(axcodes2ornt(codes)):
        affine[int(axis), native] = direction * spacing_mm[native]
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def form_warnings(image: Any) -> list[str]:
    """A warning when qform and sform put the volume's corners in different places."""
    if not isinstance(image, nibabel.Nifti1Pair):
        return []
    try:
        qform, sform = image.get_qform(coded=True)[0], image.get_sform(coded=True)[0]
    except BROKEN:
        return ["the qform is invalid: the sform is used"]
    if qform is None or sform is None:
        return []
    ends = [(0, length - 1) for length in image.shape[:3]]
    corners = np.array([[i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]], dtype=np.float64)
    apart = np.linalg.norm((corners @ (qform - sform).T)[:, :3], axis=1).max()
    if apart <= DISAGREE_MM:
        return []
    return [f"qform and sform disagree by up to {apart:.0f} mm: the sform is used"]
