"""Lesion masks as labels: found by BIDS names or a column, read one volume at a time, on its own grid.

A volume without a mask says nothing: it is free of lesions only if somebody knows so (a member of the
reference group), and otherwise takes no part in pixel metrics.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregate.anomaly.maps.nifti import read_lesion_mask
from aggregate.anomaly.maps.placement import Placement
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord

ENDINGS = ("_mask.nii.gz", "_mask.nii")


@dataclass(frozen=True, slots=True)
class LesionTruth:
    """Where each volume's lesion mask lies, and who is known to have no lesion."""

    masks: Mapping[VolumeKey, Path]
    healthy: frozenset[VolumeKey] = field(default_factory=frozenset)
    """Volumes known to be free of lesions; a mask of theirs goes before it."""

    def known(self, key: VolumeKey) -> bool:
        """Whether anything is known of a volume."""
        return key in self.masks or key in self.healthy

    def read(self, record: VolumeRecord) -> NDArray[np.bool_]:
        """The lesion voxels of one volume, native `(i, j, k)`; all False where there is none.

        Raises:
            SlicecacheError: If nothing is known of it, or its mask is unreadable or on another grid.
        """
        if record.key in self.masks:
            return read_lesion_mask(self.masks[record.key], record)
        if record.key in self.healthy:
            return np.zeros(record.geometry.native_shape, dtype=bool)
        raise SlicecacheError(
            f"{record.key} has no lesion mask and is not known to be free of lesions: give it a mask, or "
            "name it in the reference group"
        )


def bids_truth(records: Sequence[VolumeRecord], root: Path, healthy: Sequence[VolumeKey] = ()) -> LesionTruth:
    """Find `*_label-lesion_mask.nii.gz` beside the images, or at the same place of a derivatives dataset.

    A mask belongs to an image when its entities are the image's and `label-lesion`; `mod-<contrast>` and
    any `desc` may be there too.

    Args:
        records: Of the volumes, whose `source.path` starts from the root.
        root: The BIDS root; `root/derivatives/*` is looked through as well.
        healthy: Volumes known to be free of lesions.

    Raises:
        SlicecacheError: If there is no such folder, or a volume has several masks.
    """
    if not os.path.isdir(root):
        raise SlicecacheError(f"the BIDS root of the lesion masks, {str(root)!r}, is not a folder")
    derivatives = root / "derivatives"
    roots = [root, *(sorted(derivatives.iterdir()) if derivatives.is_dir() else ())]
    masks = {}
    for record in records:
        found = list(_masks_of(record, roots))
        if len(found) > 1:
            listed = ", ".join(repr(path.relative_to(root).as_posix()) for path in found)
            raise SlicecacheError(
                f"{record.key} has {len(found)} lesion masks ({listed}): name one by a column instead"
            )
        if found:
            masks[record.key] = found[0]
    return LesionTruth(masks, frozenset(healthy))


def _masks_of(record: VolumeRecord, roots: Sequence[Path]) -> Iterator[Path]:
    """Every mask that belongs to a volume."""
    if not record.source.path or record.source.path.startswith("sha256:"):
        return
    image = Path(record.source.path)
    *own, contrast = image.name.partition(".")[0].split("_")
    asked = set(own)
    for root in roots:
        folder = root / image.parent
        for path in sorted(folder.glob("*label-lesion*")) if folder.is_dir() else ():
            if not path.name.endswith(ENDINGS):
                continue
            pairs = path.name.partition(".")[0].split("_")[:-1]
            more = set(pairs) - asked - {"label-lesion", f"mod-{contrast}"}
            missing = asked - set(pairs)
            if "label-lesion" in pairs and _only_desc(more) and _only_desc(missing):
                yield path


def _only_desc(pairs: set[str]) -> bool:
    """`desc` says how a file was made and not whose it is."""
    return all(pair.startswith("desc-") for pair in pairs)


def column_truth(
    cells: Mapping[VolumeKey, str], folder: Path, healthy: Sequence[VolumeKey] = ()
) -> LesionTruth:
    """Take the masks' paths from the cohort's table.

    Args:
        cells: The column's text by volume; an empty one says nothing.
        folder: What relative paths start from: the table's folder.
        healthy: Volumes known to be free of lesions.

    Raises:
        SlicecacheError: If a file is not there.
    """
    masks = {key: folder / os.path.expanduser(cell) for key, cell in cells.items() if cell.strip()}
    absent = [f"{path.name!r} of {key}" for key, path in masks.items() if not os.path.isfile(path)]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise SlicecacheError(f"lesion masks that are not there: {', '.join(absent[:3])}{more}")
    return LesionTruth(masks, frozenset(healthy))


def lesion_slices(lesion: NDArray[np.bool_], place: Placement) -> NDArray[np.bool_]:
    """Which kept slices show a lesion voxel, `(slice,)`; the others are free of lesions.

    Args:
        lesion: Native `(i, j, k)`.
        place: Of the same volume.
    """
    shown: NDArray[np.bool_] = np.any(place.as_stack(lesion), axis=(1, 2))
    found = np.zeros(place.n_slices, dtype=np.bool_)
    found[place.in_volume(np.arange(place.n_slices))] = shown[place.positions]
    return found
