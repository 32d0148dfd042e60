"""What a volume's header tells of its slices before they are read."""

import numpy as np

from cache_schema.common.errors import VolumeError
from extract.slices.preprocessing import Preprocessing
from extract.volume.headers import Facts
from extract.volume.orient import stack_spacing, stack_to_native


def most_slices(facts: Facts, preprocessing: Preprocessing) -> int:
    """Upper bound of the slices that are kept of a volume."""
    to_native = stack_to_native(facts.affine, facts.shape, preprocessing.orient, preprocessing.plane)
    count = int(np.abs(to_native[:3, 2]) @ np.asarray(facts.shape))
    return preprocessing.slices.bound(count, stack_spacing(to_native, facts.spacing_mm)[0])


def said_of_canvas(facts: Facts, preprocessing: Preprocessing) -> tuple[str, ...]:
    """Why a volume's slices will not come out at the store's canvas, as far as its header tells."""
    to_native = stack_to_native(facts.affine, facts.shape, preprocessing.orient, preprocessing.plane)
    rows, columns, _ = (int(side) for side in np.abs(to_native[:3, :3]).T @ np.asarray(facts.shape))
    try:
        preprocessing.require_shape(rows, columns)
    except VolumeError as error:
        return (f"this will fail: {error}",)
    return ()
