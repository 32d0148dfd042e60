"""Image files: headers and voxels of every format that is read, masks, and volumes inside HDF5."""

import io
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import h5py
import nibabel
import numpy as np
from fuzz.target import ARCHIVE, Files, Target

from aggregate.anomaly.maps.nifti import read_lesion_mask
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities, VolumeRecord
from cache_schema.store.reader import open_store
from extract.simulate.masks import read_shape_mask
from extract.slices.foreground import ForegroundSpec
from extract.slices.prepare import prepare_volume
from extract.slices.presets import PRESETS
from extract.sources.candidate import Candidate
from extract.volume.read import read_foreground_mask, read_volume

SHAPE = (6, 7, 5)
AFFINE = np.array([[0, 0, 1.2, -3], [-1, 0, 0, 4], [0, 1, 0, -2], [0, 0, 0, 1]], dtype=float)
PREPROCESSING = replace(
    PRESETS["letterbox"], allow_unknown_orientation=True, foreground=ForegroundSpec(min_area_cm2=0.01)
)


def _head() -> np.ndarray:
    """A block of foreground in a background of zeros."""
    data = np.zeros(SHAPE, dtype=np.int16)
    data[1:5, 1:6, 1:4] = np.arange(60).reshape(4, 5, 3) + 100
    return data


def _bytes(image: object, name: str) -> Files:
    """An image as the files that its format has."""
    with tempfile.TemporaryDirectory() as folder:
        nibabel.save(image, Path(folder) / name)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _nifti() -> list[Files]:
    image = nibabel.Nifti1Image(_head(), AFFINE)
    image.header.set_slope_inter(0.5, 3)
    two = nibabel.Nifti2Image(_head().astype(np.float32), AFFINE)
    return [_bytes(image, "v.nii"), _bytes(image, "v.nii.gz"), _bytes(two, "v.nii")]


def _others() -> list[Files]:
    data = _head()
    return [
        _bytes(nibabel.Nifti1Pair(data, AFFINE), "v.img"),
        _bytes(nibabel.MGHImage(data.astype(np.float32), AFFINE), "v.mgh"),
        _bytes(nibabel.MGHImage(data.astype(np.uint8), AFFINE), "v.mgz"),
        _bytes(nibabel.Spm99AnalyzeImage(data, AFFINE), "v.img"),
    ]


def _hdf5() -> list[Files]:
    made = []
    for attributes in ({"affine": AFFINE}, {"orientation": "RAS", "spacing_mm": (1.0, 1.0, 1.2)}):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            group = file.create_group("scans")
            group.create_dataset("t1", data=_head(), chunks=SHAPE, compression="gzip").attrs.update(
                attributes
            )
        made.append({"v.h5": buffer.getvalue()})
    return made


def _candidate(path: Path, dataset: str = "") -> Candidate:
    return Candidate(
        VolumeKey("sub-01", "", "T1w"), path, path.name, Entities(contrast="T1w"), dataset=dataset
    )


def _first(folder: Path, endings: tuple[str, ...]) -> Path:
    """The image among the files, whatever they are called by now."""
    found = sorted(
        path for path in folder.rglob("*") if path.name.lower().endswith(endings) and path.is_file()
    )
    return found[0] if found else folder / "v.nii"


def _read(folder: Path, dataset: str = "") -> object:
    """From the file to slice images, as an extraction does."""
    path = _first(folder, (".nii", ".nii.gz", ".img", ".mgh", ".mgz", ".h5", ".hdr"))
    candidate = _candidate(path, dataset)
    read_volume(candidate, allow_unknown_orientation=True)
    return prepare_volume(candidate, PREPROCESSING)


def _foreground(folder: Path) -> object:
    """A mask beside a sound volume."""
    sound = folder / "sound.nii"
    sound.write_bytes(_nifti()[0]["v.nii"])
    facts = read_volume(_candidate(sound)).facts
    others = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != sound]
    return read_foreground_mask(others[0] if others else folder / "m.nii", _candidate(sound), facts)


@lru_cache(maxsize=1)
def _record() -> VolumeRecord:
    store = open_store(ARCHIVE / "sealed.zarr")
    return store.record(store.entries[0].key)


def _lesions() -> list[Files]:
    record = _record()
    values = np.zeros(record.geometry.native_shape, dtype=np.uint8)
    values[2:4, 2:4, 2:4] = 1
    image = nibabel.Nifti1Image(values, np.asarray(record.geometry.affine))
    return [_bytes(image, "m.nii.gz"), _bytes(image, "m.nii")]


def _lesion(folder: Path) -> object:
    return read_lesion_mask(_first(folder, (".nii", ".nii.gz")), _record())


def _shape_mask(folder: Path) -> object:
    read_shape_mask.cache_clear()
    return read_shape_mask(str(_first(folder, (".nii", ".nii.gz"))))


READING = ("extract.volume.headers", "extract.volume.read", "extract.volume.orient")
TARGETS = [
    Target("NIfTI volume", _nifti, _read, READING),
    Target("MGH, pair, Analyze", _others, _read, READING),
    Target("HDF5 volume", _hdf5, lambda folder: _read(folder, "/scans/t1"), ("extract.volume.hdf5",)),
    Target("foreground mask", _nifti, _foreground, READING),
    Target("lesion mask", _lesions, _lesion, ("aggregate.anomaly.maps.nifti",)),
    Target("lesion shape", _lesions, _shape_mask, ("extract.simulate.masks",)),
]
