"""Rows and columns in pixels, where equal ones are one number; and what is in the middle."""

from math import ceil
from typing import Annotated

from pydantic import AfterValidator, Field

Canvas = int | tuple[int, int]
"""Pixels along both sides of a square canvas, or its rows and columns."""

LARGEST_SIDE = 16384
SidePixels = Annotated[int, Field(ge=14, le=LARGEST_SIDE)]


def sides(canvas: Canvas) -> tuple[int, int]:
    """Rows and columns of a canvas."""
    return (canvas, canvas) if isinstance(canvas, int) else canvas


def shortest(canvas: Canvas) -> Canvas:
    """Equal sides as one number, so that one canvas has one fingerprint."""
    rows, columns = sides(canvas)
    return rows if rows == columns else (rows, columns)


Pixels = Annotated[SidePixels | tuple[SidePixels, SidePixels], AfterValidator(shortest)]
"""Of a canvas, as a pipeline file says it: `448` or `[448, 532]`."""


def centred_start(source: int, wanted: int) -> int:
    """First of the `wanted` central ones of `source`; negative where some are missing.

    Of an odd number to cut or to fill, the larger half lies before.
    """
    larger_half = ceil(abs(source - wanted) / 2)
    return larger_half if source > wanted else -larger_half
