"""What the table's columns are called: age, sex and site under their usual names."""

from collections.abc import Sequence

TABLE = "cohort_table"
"""The column that says, of several cohort tables, which one a row is of."""
SYNONYMS = (
    ("sex", "gender"),
    ("age",),
    ("site", "center", "centre", "scanner", "siteid", "site_id", TABLE),
)
"""Column names that mean the same; the first of each group is what the documentation calls it."""


def same_meaning(a: str, b: str) -> bool:
    """Whether two column names are equal or synonyms, ignoring case."""
    x, y = a.lower(), b.lower()
    return x == y or any(x in group and y in group for group in SYNONYMS)


def find_column(columns: Sequence[str], meaning: str) -> str | None:
    """The table's column for age, sex or site; synonyms in their order of preference."""
    group = next(group for group in SYNONYMS if group[0] == meaning)
    by_lower = {name.lower(): name for name in reversed(columns)}
    return next((by_lower[name] for name in group if name in by_lower), None)


def told_columns(columns: Sequence[str], first: Sequence[str | None] = ()) -> list[str]:
    """The columns that a participant's page tells: those asked for, then site, age and sex where known.

    No other: a table may hold names and dates, and a page is passed on more easily than a table.
    """
    known = [find_column(columns, meaning) for meaning in ("site", "age", "sex")]
    return list(
        dict.fromkeys(name for name in (*first, *known) if name and name in columns and name != TABLE)
    )
