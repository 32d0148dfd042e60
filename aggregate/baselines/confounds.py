"""Columns that may explain the label without the image: age, sex, site, brain volume."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aggregate.cohort.acquisition import VOLUME
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.table.columns import SYNONYMS, find_column, same_meaning
from aggregate.common.table_values import listed, natural, nearest, value_name
from cache_schema.common.errors import ConfigError

BRAIN = ("mask", "stripped")
"""Foregrounds that are a brain; a head's millilitres are no brain volume."""


def confound_frame(
    cohort: Cohort, confounds: Sequence[str] | None = None, site: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The confounds of every bag, and sentences about those that were not used.

    Args:
        cohort: The cohort.
        confounds: Columns; by default age, sex and site as far as the table has them.
        site: Column of the site; by default looked for.

    The target's own column, and another name for it, is no confound.

    Raises:
        ConfigError: If a column that the user names does not exist.
    """
    notes = []
    if confounds is not None:
        names = [_require(cohort, name, "confounds") for name in confounds]
    else:
        found = [find_column(list(cohort.table.columns), group[0]) for group in SYNONYMS]
        named = None if site is None else _require(cohort, site, "site")
        names = [n for n in found if n is not None and (named is None or not same_meaning(n, "site"))]
        names += [named] if named is not None else []
    used = [name for name in dict.fromkeys(names) if not same_meaning(name, cohort.target)]
    dropped = [name for name in dict.fromkeys(names) if name not in used]
    if dropped:
        notes.append(f"{listed(dropped)} is the target and so no confound")
    frame = cohort.table[used].copy()
    site_column = site_of(cohort, site)
    if site_column in used:
        frame[site_column] = site_names(cohort, site_column)
    kinds = set(cohort.acquisition["foreground"])
    if kinds <= set(BRAIN):
        frame["brain_ml"] = cohort.acquisition[VOLUME]
    else:
        notes.append("no brain volume: the foreground is a head, not a brain")
    return frame, notes


def site_of(cohort: Cohort, site: str | None = None) -> str | None:
    """The column of the site, if there is one.

    Raises:
        ConfigError: If the user names one that does not exist.
    """
    if site is not None:
        return _require(cohort, site, "site")
    return find_column(list(cohort.table.columns), "site")


def site_by_label(cohort: Cohort, site: str | None = None) -> pd.DataFrame | None:
    """Participants by site (rows, natural order) and label (columns); None without site or labels."""
    column = site_of(cohort, site)
    if not cohort.kind.classes or column is None or same_meaning(column, cohort.target):
        return None
    people = pd.DataFrame(
        {
            "participant": cohort.participants,
            column: site_names(cohort, column).fillna("(missing)"),
            "label": [cohort.classes[index] for index in cohort.y],
        }
    ).drop_duplicates()
    counts = people.groupby([column, "label"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(cohort.classes), fill_value=0)
    return counts.loc[sorted(counts.index, key=natural)]


def site_warnings(table: pd.DataFrame | None) -> list[str]:
    """A red line for every site whose participants all have one label, if there are several sites."""
    if table is None or len(table) < 2:
        return []
    lines = []
    for name, row in table.iterrows():
        present = [label for label in table.columns if row[label] > 0]
        if len(present) == 1:
            lines.append(
                f"site {name} holds {present[0]} only ({int(row.sum())} participants): the site alone tells "
                "their label"
            )
    return lines


def site_names(cohort: Cohort, column: str) -> "pd.Series[str]":
    """The site of every bag, a text or missing: a site's number is a name, not an amount."""
    return as_text(cohort.table[column])


def as_text(column: "pd.Series[float] | pd.Series[str]") -> "pd.Series[str]":
    """Values by their names."""
    return pd.Series(
        [np.nan if gone else value_name(cell) for cell, gone in zip(column, column.isna(), strict=True)],
        index=column.index,
        dtype="object",
    )


def _require(cohort: Cohort, name: str, what: str) -> str:
    if name not in cohort.table.columns:
        raise ConfigError(
            f"{what}: the table has no column {name!r}{nearest(name, list(cohort.table.columns))}"
        )
    return name
