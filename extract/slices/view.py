"""Another look at the same slices: turned or mirrored, for a store of its own.

AnomalyDINO turns its references by multiples of 45 degrees (arXiv 2405.14529) and MST mirrors what it tests
(arXiv 2411.15802). A slice is turned before it is resized to a number of pixels, as AnomalyDINO does it; one
that is shown in a field of millimetres is turned on the canvas, which has room for what the slice's own sides
would cut off. It is mirrored once it is on the canvas.
"""

from dataclasses import dataclass
from math import cos, radians, sin
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from cache_schema.common.strict import Strict

_T = TypeVar("_T", bound=np.generic)
ROWS, COLUMNS = 1, 2
"""Axes of a stack `(slice, row, column)`."""


class ViewSpec(Strict):
    """How the slices are turned, and mirrored after that."""

    rotate_deg: float = Field(default=0.0, ge=0, lt=360)
    """Counter-clockwise. What comes in at the border is background in a field of millimetres, elsewhere the
    slice, reflected at its outermost pixels, e.g. `45`."""
    about: Literal["centre", "released"] = "centre"
    """The middle of the slice, or of a field in millimetres; `released`: half a pixel further down and to the
    right, as AnomalyDINO's code has it."""
    flip: Literal["rows", "columns", "both"] | None = None
    """`columns`: left and right of the picture change places; `rows`: top and bottom."""

    @property
    def changes(self) -> bool:
        """Whether anything is another one than without it."""
        return self.rotate_deg != 0 or self.flip is not None

    @property
    def flipped(self) -> tuple[int, ...]:
        """The axes of a stack that are mirrored."""
        return {None: (), "rows": (ROWS,), "columns": (COLUMNS,), "both": (ROWS, COLUMNS)}[self.flip]


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the pixels of a turned slice lie in the slice: `pixel = matrix @ turned pixel + offset`."""

    matrix: NDArray[np.float64]
    """2x2, of rows and columns."""
    offset: NDArray[np.float64]

    def of(self, stack: NDArray[_T], beyond: float | None = None) -> NDArray[_T]:
        """Every slice turned on its own pixels, by linear interpolation; what is 8 bits is rounded.

        Args:
            stack: `(slice, row, column)`; of bools a pixel is True where at least half of it is.
            beyond: What lies outside the slice; by default the slice itself, reflected.
        """
        border = {"mode": "mirror"} if beyond is None else {"mode": "grid-constant", "cval": beyond}
        whole = stack.astype(np.float64) if stack.dtype.kind in "bui" else stack
        out = np.empty(stack.shape, dtype=whole.dtype)
        for target, image in zip(out, whole, strict=True):
            ndimage.affine_transform(
                image, self.matrix, self.offset, output=target, order=1, prefilter=False, **border
            )
        if stack.dtype.kind == "b":
            return (out >= 0.5).astype(stack.dtype)
        return (np.rint(out) if stack.dtype.kind in "ui" else out).astype(stack.dtype, copy=False)

    def homogeneous(self) -> NDArray[np.float64]:
        """The same on `(row, column, slice, 1)`, 4x4."""
        full = np.eye(4)
        full[:2, :2], full[:2, 3] = self.matrix, self.offset
        return full


def turn_of(view: ViewSpec | None, rows: int, columns: int) -> Turn | None:
    """How a view turns images of so many rows and columns; None where it does not."""
    if view is None or not view.rotate_deg:
        return None
    c, s = (_exact(f(radians(view.rotate_deg))) for f in (cos, sin))
    matrix = np.array([[c, s], [-s, c]])
    stays = (np.array([rows, columns]) - (view.about == "centre")) / 2
    return Turn(matrix, stays - matrix @ stays)


def mirrored(flipped: tuple[int, ...], pixels: tuple[int, int]) -> NDArray[np.float64]:
    """4x4 matrix from `(row, column, slice, 1)` of a mirrored canvas to the canvas."""
    matrix = np.eye(4)
    for axis in flipped:
        matrix[axis - 1, axis - 1], matrix[axis - 1, 3] = -1.0, pixels[axis - 1] - 1
    return matrix


def _exact(value: float) -> float:
    """Of right angles without the rounding of pi, so that pixels lie on pixels."""
    nearest = round(value)
    return float(nearest) if abs(value - nearest) < 1e-12 else value
