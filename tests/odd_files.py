"""Every odd kind of file that people have where an image should be, made up and tiny."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (21, 23, 15)
AFFINE = np.diag([8.0, 8, 8, 1])


def brain(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A ball of noise."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    return (((grid**2).sum(0) < 0.8) * np.random.default_rng(seed).uniform(50, 200, shape)).astype(np.float32)


def save(path: Path, data: np.ndarray, code: int = 1) -> None:
    """A NIfTI image; `code` 0 leaves the orientation open."""
    image = nib.Nifti1Image(data, AFFINE)
    image.set_qform(AFFINE, code)
    image.set_sform(AFFINE, code)
    nib.save(image, path)


def _colour(path: Path) -> None:
    voxels = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)


def _cut(path: Path) -> None:
    save(path, brain(1))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _header_only(path: Path) -> None:
    save(path, brain(1))
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    path.write_bytes(data[:352] if path.suffix != ".gz" else gzip.compress(data[:352]))


def _pair_without_image(path: Path) -> None:
    nib.save(nib.Nifti1Pair(brain(1), AFFINE), path)
    path.with_suffix(".img").unlink()


def _fifo_header(path: Path) -> None:
    nib.save(nib.Nifti1Pair(brain(1), AFFINE), path)
    path.with_suffix(".hdr").unlink()
    os.mkfifo(path.with_suffix(".hdr"))


def _twisted(path: Path) -> None:
    image = nib.Nifti1Image(brain(1), AFFINE)
    image.header["srow_x"], image.header["srow_y"] = (8, 0, 0, 0), (8, 0, 0, 0)
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    data = bytearray(image.to_bytes())
    data[252:256] = (0).to_bytes(2, "little") + (1).to_bytes(2, "little")
    for row, numbers in enumerate(((8, 0, 0, 0), (8, 0, 0, 0), (0, 0, 8, 0))):
        data[280 + 16 * row : 296 + 16 * row] = np.array(numbers, "<f4").tobytes()
    path.write_bytes(bytes(data))


Kind = tuple[str, Callable[[Path], object], str]
"""The file's name, what makes it, and the words that its sentence must hold."""

KINDS: dict[str, Kind] = {
    "complex voxels": (
        "a.nii",
        lambda p: save(p, brain(1).astype(np.complex64)),
        "complex voxels: take the mag",
    ),
    "colour voxels": ("a.nii", _colour, r"colour voxels \(R, G, B\)"),
    "two volumes in one file": ("a.nii.gz", lambda p: save(p, brain(1, (*SHAPE, 2))), "4D with 2 volumes"),
    "a series": ("a.nii", lambda p: save(p, brain(1, (9, 9, 9, 20))), "4D with 20 volumes"),
    "a plane": ("a.nii", lambda p: save(p, brain(1)[:, :, 0]), "2D: a volume has three axes"),
    "a NIfTI-2 series": (
        "a.nii",
        lambda p: nib.save(nib.Nifti2Image(brain(1, (9, 9, 9, 2)), AFFINE), p),
        "4D with 2 volumes",
    ),
    "a git-LFS pointer": (
        "a.nii.gz",
        lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        "git-LFS pointer",
    ),
    "a git-annex pointer": (
        "a.nii.gz",
        lambda p: p.write_bytes(b"/annex/objects/SHA256E-s9--00.nii.gz\n"),
        "git-annex pointer",
    ),
    "a git-annex link": (
        "a.nii.gz",
        lambda p: p.symlink_to(p.parent / "gone"),
        "git-annex link whose content",
    ),
    "a link to itself": ("a.nii.gz", lambda p: p.symlink_to(p.name), "git-annex link whose content"),
    "an orientation that nobody knows": (
        "a.nii",
        lambda p: save(p, brain(1), 0),
        "state it in the manifest's",
    ),
    "an affine that folds space": ("a.nii", _twisted, "the affine is not invertible"),
    "a .hdr without its .img": ("a.hdr", _pair_without_image, "no 'a.img' beside it"),
    "an .img whose .hdr is a fifo": ("a.img", _fifo_header, "'a.hdr' is a fifo, not a file"),
    "0 bytes": ("a.nii.gz", lambda p: p.write_bytes(b""), r"the file is empty \(0 bytes\)"),
    "a header alone": ("a.nii", _header_only, "a header without its voxels: 352 bytes"),
    "DICOM": (
        "IM0001",
        lambda p: p.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 500),
        "convert it with dcm2niix",
    ),
    "HDF5 without a dataset's name": (
        "a.h5",
        lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 200),
        "name the dataset inside it, e.g. a.h5:/DATASET",
    ),
    "a text": ("a.nii", lambda p: p.write_bytes(b"hello " * 100), "not a readable image"),
    "a folder": ("a.nii", lambda p: p.mkdir(), "a folder, not an image"),
    "a fifo": ("a.nii", os.mkfifo, "'a.nii' is a fifo, not a file"),
    "a device": ("a.nii", lambda p: p.symlink_to("/dev/zero"), "'a.nii' is a device, not a file"),
    "nothing": ("a.nii", lambda p: None, "there is no file"),
}
"""What already its header says."""

VOXELS: dict[str, Kind] = {
    "cut short": ("a.nii.gz", _cut, "cut short or damaged"),
    "a header alone, packed": ("a.nii.gz", _header_only, "cut short or damaged|voxels cannot be read"),
    "constant": ("a.nii", lambda p: save(p, np.full(SHAPE, 7, np.int16)), "every voxel is 7"),
    "no finite voxel": ("a.nii", lambda p: save(p, np.full(SHAPE, np.nan, np.float32)), "no voxel is finite"),
    "a speck": ("a.nii", lambda p: save(p, (brain(1) > 199.9).astype(np.int16)), "cm2 of foreground"),
}
"""What only its voxels say."""
