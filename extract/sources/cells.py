"""What the cells of a manifest mean: paths, datasets inside files, axis codes, voxel sizes."""

import math
import os
import re
from pathlib import Path

from nibabel.orientations import axcodes2ornt, ornt2axcodes

from cache_schema.common.errors import ConfigError
from extract.sources.candidate import stem

INSIDE = re.compile(r"(?P<file>.+\.(?:h5|hdf5|hdf|he5)):(?P<dataset>.+)", re.IGNORECASE)
"""`scans.h5:/sub-01/t1`."""


def split_dataset(text: str) -> tuple[str, str]:
    """A path, and the dataset inside an HDF5 file; the latter is empty for an image file."""
    found = INSIDE.fullmatch(text)
    return (text, "") if found is None else (found["file"], "/" + found["dataset"].strip("/"))


def located_file(text: str, folder: Path) -> Path:
    """A path of the table; relative ones start from the table's folder.

    A header that lies beside its image stands for the image: that is the file whose change matters.
    """
    path = Path(os.path.abspath(folder / os.path.expanduser(text)))
    if path.suffix == ".hdr" and os.path.exists(image := path.with_suffix(".img")):
        return image
    return path


def name_of(path: Path, dataset: str) -> str:
    """What a volume is called by its place: the file's name, with the dataset's inside a file."""
    return "_".join([stem(path), *dataset.strip("/").split("/")]).rstrip("_")


def axis_codes(text: str, number: int, table: Path) -> str | None:
    """Axis codes such as `RAS`, checked; None for an empty cell.

    Raises:
        ConfigError: If they do not name three different axes.
    """
    if not text:
        return None
    codes = text.upper()
    if len(codes) == 3 and all(letter in "LRAPSI" for letter in codes):
        ornt = axcodes2ornt(codes)
        if len(set(ornt[:, 0])) == 3:
            return "".join(ornt2axcodes(ornt))
    raise ConfigError(
        f"row {number} of {str(table)!r}: orientation must be three axis codes such as RAS, not {text!r}"
    )


def voxel_sizes(text: str, number: int, table: Path) -> tuple[float, float, float] | None:
    """Three sizes in mm along the stored axes, such as `0.9x0.9x1.2`; None for an empty cell.

    Raises:
        ConfigError: If they are not three positive numbers.
    """
    if not text:
        return None
    try:
        sizes = [float(part) for part in re.split(r"[x×,;\s]+", text.strip("[]() "))]
    except ValueError:
        sizes = []
    if len(sizes) != 3 or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise ConfigError(
            f"row {number} of {str(table)!r}: spacing_mm must be three sizes such as 1x1x1.2, not {text!r}"
        )
    return sizes[0], sizes[1], sizes[2]
