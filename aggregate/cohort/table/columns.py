"""What the table's columns are called: age, sex and site under their usual names."""

from collections.abc import Sequence

SYNONYMS = (
    ("sex", "gender"),
    ("age",),
    ("site", "center", "centre", "scanner", "siteid", "site_id"),
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
