"""Columns standardised by the mean and spread of some rows."""

from dataclasses import dataclass

import numpy as np

from aggregate.common.arrays import Floats


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and spread of the training rows."""

    mean: Floats
    sd: Floats
    """0 for columns that do not vary; they are dropped."""

    def __call__(self, x: Floats) -> Floats:
        """Standardise, without the columns that do not vary: (row, varying column)."""
        varies = self.sd > 0
        return np.asarray((x[:, varies] - self.mean[varies]) / self.sd[varies], dtype=np.float64)


def fit_scaling(x: Floats) -> Scaling:
    """Learn mean and standard deviation of each column.

    Spreads that are rounding of a constant count as none.
    """
    mean, sd = x.mean(axis=0), x.std(axis=0)
    return Scaling(mean, np.where(sd > 1e-9 * np.maximum(np.abs(mean), 1e-30), sd, 0.0))
