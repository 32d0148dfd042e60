"""Images of every kind that a volume is made from, a manifest of them, and how each may be changed.

`CHANGES` is what `extract` must notice: it is used by its tests and by the attacks.
"""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import yaml

SHAPE = (31, 37, 17)
AFFINE = np.diag([5.0, 5, 5, 1])
MANIFEST = (
    ("participant_id", "path", "foreground_path", "orientation", "spacing_mm"),
    ("plain", "plain.nii", "", "", ""),
    ("twin", "twin.nii", "", "", ""),
    ("masked", "masked.nii.gz", "mask.nii.gz", "", ""),
    ("pair", "pair.img", "", "RAS", ""),
    ("inside", "scans.h5:/a", "", "RAS", "5x5x5"),
)


def voxels(seed: int) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    noise = np.random.default_rng(seed).uniform(50, 200, SHAPE)
    return (((grid**2).sum(axis=0) < 0.6) * noise).astype(np.float32)


def save_mask(path: Path, first: int = 4) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[first:26, 5:30, 3:15] = 1
    nib.save(nib.Nifti1Image(mask, AFFINE), path)


def write_manifest(folder: Path, *edits: tuple[str, str, str]) -> None:
    """The table, with cells `(participant, column, text)` that are otherwise."""
    head, *rows = MANIFEST
    changed = {(who, head.index(column)): text for who, column, text in edits}
    cells = [[changed.get((row[0], place), cell) for place, cell in enumerate(row)] for row in rows]
    (folder / "volumes.tsv").write_text("\n".join("\t".join(row) for row in [head, *cells]) + "\n")


def write_inputs(folder: Path) -> Path:
    """All images, the manifest and a pipeline; returns the pipeline's file."""
    for seed, name in enumerate(("plain.nii", "twin.nii", "masked.nii.gz")):
        nib.save(nib.Nifti1Image(voxels(seed), AFFINE), folder / name)
    save_mask(folder / "mask.nii.gz")
    nib.save(nib.AnalyzeImage(voxels(3), AFFINE), folder / "pair.img")
    with h5py.File(folder / "scans.h5", "w") as file:
        file["a"], file["b"] = voxels(4), voxels(5)
    for name in ("plain.nii", "twin.nii"):
        os.utime(folder / name, ns=(10**18, 10**18))
    write_manifest(folder)
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": {
            "input": {"manifest": "volumes.tsv"},
            "canvas": 28,
            "backbone": {"kind": "untrained", "size": "tiny"},
            "dtype": "float32",
            "workers": 0,
        },
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return folder / "pipeline.yaml"


def swap(folder: Path) -> None:
    (folder / "plain.nii").rename(folder / "x.nii")
    (folder / "twin.nii").rename(folder / "plain.nii")
    (folder / "x.nii").rename(folder / "twin.nii")


def edit_header(folder: Path) -> None:
    """Another voxel size, in the same number of bytes and with the times put back."""
    before = (folder / "pair.hdr").stat()
    header = bytearray((folder / "pair.hdr").read_bytes())
    header[80:84] = np.float32(4).tobytes()
    (folder / "pair.hdr").write_bytes(bytes(header))
    os.utime(folder / "pair.hdr", ns=(before.st_atime_ns, before.st_mtime_ns))


def edit_dataset(folder: Path) -> None:
    with h5py.File(folder / "scans.h5", "r+") as file:
        file["a"][3, 4, 5] += 1


CHANGES: dict[str, tuple[Callable[[Path], object], set[str], str]] = {
    "mask": (lambda folder: save_mask(folder / "mask.nii.gz", 5), {"masked"}, "its foreground mask has"),
    "mask taken away": (
        lambda folder: write_manifest(folder, ("masked", "foreground_path", "")),
        {"masked"},
        r"its foreground mask \(none now\) has",
    ),
    "mask added": (
        lambda folder: write_manifest(folder, ("plain", "foreground_path", "mask.nii.gz")),
        {"plain"},
        r"its foreground mask \(none then\) has",
    ),
    "header": (edit_header, {"pair"}, "its header has"),
    "orientation": (
        lambda folder: write_manifest(folder, ("pair", "orientation", "LAS")),
        {"pair"},
        r"its stated orientation \('RAS' then, 'LAS' now\) has",
    ),
    "orientation of HDF5": (
        lambda folder: write_manifest(folder, ("inside", "orientation", "LPS")),
        {"inside"},
        r"its stated orientation \('RAS' then, 'LPS' now\) has",
    ),
    "spacing of HDF5": (
        lambda folder: write_manifest(folder, ("inside", "spacing_mm", "5x4x5")),
        {"inside"},
        r"its stated spacing_mm \(\(5.0, 5.0, 5.0\) then, \(5.0, 4.0, 5.0\) now\) has",
    ),
    "voxels of HDF5": (edit_dataset, {"inside"}, "its file has"),
    "two images swapped, equal size and time": (swap, {"plain", "twin"}, "its file has"),
    "mask and orientation": (
        lambda folder: (
            save_mask(folder / "mask.nii.gz", 5),
            write_manifest(folder, ("masked", "orientation", "LAS")),
        ),
        {"masked"},
        r"its foreground mask and stated orientation \(none then, 'LAS' now\) have",
    ),
}
"""What was changed -> how, whose volumes it shapes, and what is said of them."""
