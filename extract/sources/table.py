"""Read a table as text: ids keep their leading zeros, and nothing is guessed to be a number."""

from collections import Counter
from pathlib import Path

from cache_schema.common.errors import ConfigError
from cache_schema.common.text.tables import read_rows

TextRow = dict[str, str]

EMPTY_CELLS = frozenset({"", "na", "n/a", "nan", "none", "null"})
"""What people write where nothing is."""

DELIMITERS = ("\t", ",", ";", "|")


def read_text_table(path: Path, sheet: str | None = None) -> tuple[list[str], list[TextRow]]:
    """Column names and rows of a table.

    Args:
        path: CSV, TSV, .xlsx or Parquet; the delimiter is whichever splits the header line most.
        sheet: Of a workbook.

    Raises:
        ConfigError: If the file cannot be read, has no rows, a doubled column, or a row of another length.
    """
    what = f"the table {str(path)!r}"
    rows = read_rows(path, what, DELIMITERS, sheet)
    if len(rows) < 2:
        raise ConfigError(f"{what} needs a header line and at least one row")
    names, *body = (cells for _, cells in rows)
    if doubled := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise ConfigError(f"the table {str(path)!r} has the column {doubled[0]!r} twice")
    for number, cells in enumerate(body, start=2):
        if len(cells) != len(names):
            raise ConfigError(
                f"row {number} of {str(path)!r} has {len(cells)} cells, the header {len(names)}"
            )
    return names, [dict(zip(names, cells, strict=True)) for cells in body]


def is_empty(value: str) -> bool:
    """Whether a cell says that there is nothing."""
    return value.lower() in EMPTY_CELLS
