"""What share of the lesions a store's slices can see, from masks and records alone: no token is read.

A store that keeps one slice in five shows a fifth of the lesion voxels; what lies between, no detector finds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.anomaly.maps.placement import placement
from aggregate.anomaly.measure.regions import connected
from aggregate.anomaly.measure.truth import LesionTruth
from aggregate.anomaly.reference.group import StudyVolume


@dataclass(frozen=True, slots=True)
class LesionsSeen:
    """Counted over the volumes that are measured."""

    volumes: int = 0
    """With a lesion."""
    voxels: int = 0
    between: int = 0
    """Lesion voxels on slices that are not kept."""
    beside: int = 0
    """On kept slices, off the canvas."""
    lesions: int = 0
    """Connected by 26 neighbours."""
    unseen: int = 0
    """Lesions of which no voxel is seen."""

    def __add__(self, other: "LesionsSeen") -> "LesionsSeen":
        return LesionsSeen(
            self.volumes + other.volumes,
            self.voxels + other.voxels,
            self.between + other.between,
            self.beside + other.beside,
            self.lesions + other.lesions,
            self.unseen + other.unseen,
        )

    @property
    def share(self) -> float | None:
        """Of lesion voxels that are seen; None without a lesion."""
        return (self.voxels - self.between - self.beside) / self.voxels if self.voxels else None

    def sentence(self) -> str:
        """What it means."""
        if self.share is None:
            return "the masks of the volumes to be measured show no lesion"
        told = (
            f"the kept slices see {self.share:.0%} of the lesion voxels of {self.volumes} volume(s): "
            f"{self.between / self.voxels:.0%} lie on slices that are not kept"
        )
        if self.beside:
            told += f", {self.beside / self.voxels:.1%} off the canvas"
        return told + f"; of {self.lesions} lesion(s) {self.unseen} are not seen at all"


def lesions_seen(
    members: Sequence[StudyVolume],
    truth: LesionTruth,
    grid: tuple[int, int],
    progress: Callable[[], None] | None = None,
) -> LesionsSeen:
    """Count what the slices of these volumes see of their lesions.

    Args:
        members: Those without a mask are passed over.
        truth: Their masks.
        grid: Rows and columns of patches.
        progress: Told of every mask.

    Raises:
        SlicecacheError: If a mask cannot be read or is on another grid.
    """
    found = LesionsSeen()
    for member in members:
        if member.key in truth.masks:
            found += _of_volume(member, truth, grid)
            if progress is not None:
                progress()
    return found


def _of_volume(member: StudyVolume, truth: LesionTruth, grid: tuple[int, int]) -> LesionsSeen:
    """One volume."""
    place = placement(member.record, grid)
    labels, n = connected(np.ascontiguousarray(place.as_stack(truth.read(member.record))), "volume")
    if not n:
        return LesionsSeen()
    voxels, kept = np.count_nonzero(labels), labels[np.unique(place.positions)]
    seen = kept[:, place.on_canvas]
    unseen = n - np.count_nonzero(np.unique(seen))
    return LesionsSeen(
        volumes=1,
        voxels=int(voxels),
        between=int(voxels - np.count_nonzero(kept)),
        beside=int(np.count_nonzero(kept) - np.count_nonzero(seen)),
        lesions=n,
        unseen=int(unseen),
    )
