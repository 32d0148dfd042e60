"""Traits that are matched between the classes: as even as a design makes them, and chance rarely does.

Cross-validation undoes a match. Whatever a test part has more of by chance, its training part has less
of, so that a classifier of matched traits is wrong more often than right: a mean AUROC of 0.30 in 1,000
cohorts of 40 in which there is nothing to find. Folds that are dealt by these traits too keep the match on
both sides. Traits that are not matched must be left to chance: dealt out, a difference that chance made
would stand in every test part as in its training part, and look like a finding (`docs/statistics.md`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aggregate.cohort.table.columns import same_meaning
from aggregate.common.arrays import Floats, Ints

LEVELS = 5
"""A number with at most so many different values is a group's name."""
NEAR = 0.25
"""Of its standard error: how far a class's mean of a matched number lies from that of all, at most."""


@dataclass(frozen=True, slots=True)
class Matched:
    """The matched traits of some participants."""

    names: tuple[str, ...]
    """Of the columns."""
    cells: Ints
    """Equal for who is alike in all that are groups (participant,)."""
    number: Floats | None
    """The first that is a number (participant,)."""


def find_matched(traits: Mapping[str, "pd.Series[Any]"], y: Ints) -> Matched:
    """Which columns are matched between the classes.

    Groups are when every one holds as many of each class as whole participants allow, numbers when the
    means of the classes agree.

    Args:
        traits: By name, a cell per participant.
        y: Class index (participant,).
    """
    names, cells, number = [], np.zeros(len(y), dtype=np.int64), None
    for name, column in traits.items():
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > LEVELS and not _is_site(name):
            values = column.fillna(column.median()).to_numpy(dtype=np.float64)
            if _means_agree(values, y):
                names.append(name)
                number = values if number is None else number
            continue
        groups = pd.factorize(column, use_na_sentinel=False)[0].astype(np.int64)
        if groups.max() > 0 and _shares_agree(groups, y):
            names.append(name)
            cells = np.unique(cells * (1 + groups.max()) + groups, return_inverse=True)[1].astype(np.int64)
    return Matched(tuple(names), cells, number)


def _is_site(name: str) -> bool:
    return same_meaning(name, "site")


def _shares_agree(groups: Ints, y: Ints) -> bool:
    counts = np.zeros((groups.max() + 1, y.max() + 1))
    np.add.at(counts, (groups, y), 1)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / len(y)
    return bool((np.abs(counts - expected) < 1).all())


def _means_agree(values: Floats, y: Ints) -> bool:
    for c in np.unique(y):
        own = values[y == c]
        error = values.std() * np.sqrt((1 - len(own) / len(y)) / len(own))
        if abs(own.mean() - values.mean()) > NEAR * error:
            return False
    return True
