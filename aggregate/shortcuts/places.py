"""Where every participant was scanned: the table's site, or what the records say of the scanner."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.baselines.confounds import site_names, site_of
from aggregate.cohort.acquisition import scanner_columns
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import people_of
from aggregate.cohort.table.columns import same_meaning
from aggregate.common.arrays import Ints
from aggregate.common.table_values import natural

FEWEST = 5
"""Participants of a site, so that every one of five folds tests one of them."""
SCANNER = "scanner"
"""What groups are called that come from the records."""


@dataclass(frozen=True, slots=True)
class Places:
    """The sites of participants, as far as they hold enough of them."""

    what: str
    """The table's column, or `scanner`."""
    bags: Ints
    """The first bag of every participant who has a site (participant,)."""
    names: tuple[str, ...]
    """Sites with at least `FEWEST` participants, in natural order."""
    site: Ints
    """Of every participant an index into `names`, or -1 where the site holds too few (participant,)."""
    small: tuple[str, ...]
    """Sites that hold too few."""


def find_places(cohort: Cohort, site: str | None = None) -> Places | None:
    """The site of every participant; None where nothing tells sites apart.

    Without a column of sites the scanner stands for it: shape, spacing, orientation and contrast, without
    the shape where that leaves most participants alone in their group (volumes cropped to the head).

    Args:
        cohort: Gives table and acquisition.
        site: Column of the site; by default looked for.

    Raises:
        ConfigError: If the user names a column that does not exist.
    """
    people = people_of(cohort.participants.tolist(), np.zeros(len(cohort.frame), dtype=np.int64))
    first = np.unique(people.of_bag, return_index=True)[1].astype(np.int64)
    column = site_of(cohort, site)
    if column is not None and same_meaning(column, cohort.target):
        return None
    if column is not None:
        return _places(column, first, site_names(cohort, column).iloc[first].tolist())
    known = scanner_columns(cohort.acquisition.columns)
    rows = cohort.acquisition[known].iloc[first]
    whole = _places(SCANNER, first, _signatures(rows))
    if (whole.site < 0).mean() > 0.5:
        whole = _places(SCANNER, first, _signatures(rows.drop(columns=_shape(known))))
    return whole if len(whole.names) + len(whole.small) > 1 else None


def _shape(columns: Sequence[str]) -> list[str]:
    return [name for name in columns if name.startswith("shape_")]


def _signatures(rows: "pd.DataFrame") -> list[str]:
    """One text per row; spacings that differ by rounding only are one."""
    rounded = [
        [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows.values
    ]
    return ["|".join(row) for row in rounded]


def _places(what: str, first: Ints, cells: Sequence[object]) -> Places:
    known = np.array([isinstance(cell, str) for cell in cells], dtype=np.bool_)
    words = [str(cell) for cell, there in zip(cells, known, strict=True) if there]
    counts = Counter(words)
    names = sorted((name for name, n in counts.items() if n >= FEWEST), key=natural)
    place = {name: index for index, name in enumerate(names)}
    site = np.array([place.get(word, -1) for word in words], dtype=np.int64)
    small = sorted((name for name, n in counts.items() if n < FEWEST), key=natural)
    return Places(what, first[known], tuple(names), site, tuple(small))
