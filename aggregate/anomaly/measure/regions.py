"""What is measured of one volume: its connected lesions, and where voxels count, all and foreground.

`all` is every voxel of a kept slice that the canvas shows. `foreground` is where the foreground share of
the patches, interpolated to native voxels like a score, is at least a half: half, so that the border lies
where the foreground's does on average; a share above 0 would take in a rim of background as wide as a patch.
Lesion voxels outside are not measured and counted as hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from aggregate.anomaly.maps.placement import Placement, native_slices
from cache_schema.common.errors import SlicecacheError

Region = Literal["all", "foreground"]

Connectivity = Literal["slice", "volume"]
"""`slice`: 8 neighbours within a slice; `volume`: 26 neighbours."""

FOREGROUND_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Ground:
    """The truth of one volume on its kept slices, `(slice, native row, native column)`, low to high index."""

    labels: NDArray[np.int32]
    """0 outside lesions, else the number of the lesion from 1."""
    measured: Mapping[Region, NDArray[np.bool_]]
    """Where voxels count."""
    n_labels: int
    beyond: int
    """Lesion voxels on slices that are not kept."""

    def sizes(self, region: Region) -> NDArray[np.int64]:
        """`(lesion + 1,)`: measured voxels of every lesion; entry 0 is none's."""
        inside = self.labels[self.measured[region]]
        sizes = np.bincount(inside, minlength=self.n_labels + 1)
        sizes[0] = 0
        return sizes

    def hidden(self, region: Region) -> int:
        """Lesion voxels that are not measured."""
        shown = int(np.count_nonzero(self.labels[self.measured[region]]))
        return self.beyond + int(np.count_nonzero(self.labels)) - shown


def connected(lesion: NDArray[np.bool_], connectivity: Connectivity) -> tuple[NDArray[np.int32], int]:
    """Number the connected lesions of `(slice, row, column)` from 1; also how many there are."""
    neighbours = np.ones((3, 3, 3), dtype=bool)
    if connectivity == "slice":
        neighbours[[0, 2]] = False
    labels = np.zeros(lesion.shape, dtype=np.int32)
    boxes = ndimage.find_objects(lesion.view(np.uint8))
    if not boxes:
        return labels, 0
    # Lesions are small: only their bounding box is searched.
    found, count = ndimage.label(lesion[boxes[0]], neighbours)
    labels[boxes[0]] = found
    return labels, int(count)


def ground_of(
    lesion: NDArray[np.bool_],
    place: Placement,
    foreground: NDArray[np.float32],
    connectivity: Connectivity = "volume",
) -> Ground:
    """Work out the truth of one volume once, for every detector.

    Args:
        lesion: Native `(i, j, k)`.
        place: Without smoothing.
        foreground: `(slice, row, col)`: foreground share of the patches.
        connectivity: What makes voxels one lesion; `volume` looks through slices that are not kept, so
            that a lesion is one however few slices the store has of it.

    Raises:
        SlicecacheError: If the mask does not have the volume's shape.
    """
    if lesion.shape != place.shape:
        raise SlicecacheError(f"a mask of shape {place.shape} is expected, not {lesion.shape}")
    stack = np.ascontiguousarray(place.as_stack(lesion))
    labels, count = connected(stack, connectivity)
    kept = np.sort(place.positions)
    shape = (len(kept), *stack.shape[1:])
    everywhere = np.broadcast_to(place.on_canvas, shape)
    inside = np.empty(shape, dtype=bool)
    done = 0
    for positions, share in native_slices(foreground, place):
        inside[done : done + len(positions)] = share >= FOREGROUND_SHARE
        done += len(positions)
    inside &= place.on_canvas
    own = labels[kept]
    beyond = int(np.count_nonzero(stack)) - int(np.count_nonzero(own))
    return Ground(own, {"all": everywhere, "foreground": inside}, count, beyond)
