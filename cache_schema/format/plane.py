"""The three planes that a volume is cut along, and what their slices and heights are called.

One rule holds for all: slices go from low to high along the normal in RAS+ (upwards, forwards, to the right),
and a slice's height is counted back from the pole where that axis ends: the highest, foremost or rightmost
slice with enough foreground.
"""

from typing import Literal

Plane = Literal["axial", "coronal", "sagittal"]

NORMAL: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
"""World axis (x, y, z) that slices are counted along."""

FROM_POLE: dict[Plane, str] = {
    "axial": "below the vertex",
    "coronal": "behind the anterior pole",
    "sagittal": "left of the right pole",
}
"""Follows a height in mm."""

LAID: dict[Plane, str] = {
    "axial": "anterior on top, the participant's left on the left side",
    "coronal": "superior on top, the participant's left on the left side",
    "sagittal": "superior on top, anterior on the left side",
}
"""Which way a slice image lies: row 0 and column 0."""

AWAY: dict[Plane, str] = {
    "axial": "from the vertex down",
    "coronal": "from the front backwards",
    "sagittal": "from right to left",
}
"""The order in which slices are shown, heights growing."""
