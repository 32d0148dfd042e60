"""Which component of a detector each voxel comes from, and how likely it is: files beside anomaly maps.

`..._desc-dpmm_dseg.nii.gz` holds whole numbers: 0 where no kept slice is shown, 1 for the heaviest component,
2 for the next. A patch is not blended with its neighbours there, since a number between two components is
none. `..._desc-dpmm_loglikelihood.nii.gz` is interpolated as anomaly maps are, and not smoothed.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregate.anomaly.maps.nifti import source_image, write_map
from aggregate.anomaly.maps.placement import Placement, native_map, placement
from aggregate.common.artefacts import write_json
from cache_schema.format.record import VolumeRecord

COMPONENTS, LIKELIHOOD = "dseg", "loglikelihood"
"""Suffixes of the files."""

WORDS = {
    COMPONENTS: "Component that each patch most probably comes from, counted from 1, the heaviest; 0 off the "
    "kept slices and off the canvas",
    LIKELIHOOD: "Log density of each patch's token under the mixture, higher = more usual; 0 off the kept "
    "slices and off the canvas",
}


def component_map(components: NDArray[np.int64], place: Placement) -> NDArray[np.int16]:
    """A map `(i, j, k)` of the component of the patch that each voxel lies in, counted from 1.

    Args:
        components: `(slice, row, col)` over the kept slices, counted from 0.
        place: Of the volume, without smoothing.
    """
    rows, columns = (weights.argmax(axis=1) for weights in (place.rows, place.columns))
    out = np.zeros(place.shape, dtype=np.int16, order="F")
    inside = place.in_volume(components).astype(np.int16) + np.int16(1)
    place.as_stack(out)[place.positions] = inside[:, rows][:, :, columns] * place.on_canvas
    return out


def write_components(
    path: Path, components: NDArray[np.int64], record: VolumeRecord, root: Path | None
) -> None:
    """Write a volume's components; `root` as for `maps.write_volume_map`."""
    place = placement(record, (components.shape[1], components.shape[2]))
    write_map(path, component_map(components, place), record, source_image(record, root))


def write_likelihood(
    path: Path, values: NDArray[np.float32], record: VolumeRecord, root: Path | None
) -> None:
    """Write a volume's log densities `(slice, row, col)`; `root` as above."""
    place = placement(record, (values.shape[1], values.shape[2]))
    write_map(path, native_map(values, place), record, source_image(record, root))


def describe_components(folder: Path, detector: str, called: str) -> None:
    """Write the sidecars of a detector's files; `called` is its name in file names."""
    for suffix, words in WORDS.items():
        write_json(folder / f"desc-{called}_{suffix}.json", {"Description": words, "Detector": detector})
