"""Bags as numpy arrays: what `store.tokens()` gives and what a `HeadClassifier` takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class BagArrays:
    """Tokens of many bags, padded along `slice`; indexed by rows as one array is.

    `np.asarray(bags)` is `x` alone. scikit-learn divides it as it divides an array, and heights and
    participants go along.

    Example:
        >>> bags = sc.open("cache.zarr").tokens("cls")
        >>> bags.x.shape, bags[:10].keep.sum()
    """

    x: NDArray[np.floating[Any]]
    """(bag, slice, dim), or more axes behind `slice` for patches; NaN at pads."""
    keep: NDArray[np.bool_]
    """(bag, slice): True = real slice."""
    height_mm: NDArray[np.floating[Any]]
    """(bag, slice): millimetres below the vertex, 0 at pads."""
    participant_id: NDArray[np.str_] | None = None
    """(bag,): who stays on one side of a division; None where nobody knows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `x`."""
        return self.x.shape

    @property
    def ndim(self) -> int:
        """Of `x`."""
        return self.x.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of `x`."""
        return self.x.dtype

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> "BagArrays":
        """Some bags: a slice, a mask, or places; `[rows, ...]` is the same, as scikit-learn asks for it."""
        if isinstance(rows, tuple):
            if len(rows) != 2 or rows[1] is not Ellipsis:
                raise IndexError("bags are indexed along their first axis; take `.x` for the others")
            rows = rows[0]
        if isinstance(rows, int | np.integer):
            rows = [rows]
        people = self.participant_id
        return BagArrays(
            self.x[rows], self.keep[rows], self.height_mm[rows], None if people is None else people[rows]
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """`x` alone."""
        return np.array(self.x, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"<BagArrays {self.shape} {self.dtype}, {int(self.keep.sum())} real slices>"
