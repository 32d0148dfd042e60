"""How often chance does as well: the p value of a result among results on permuted labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def permutation_p(observed: float, null: Sequence[float] | NDArray[np.float64]) -> float:
    """Share of permutations that do at least as well, `(1 + #>=) / (1 + N)`; NaN counts against us."""
    array = np.asarray(null, dtype=np.float64)
    return float((1 + np.sum((array >= observed) | np.isnan(array))) / (1 + len(array)))
