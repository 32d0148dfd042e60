"""Read a CSV or TSV as text: ids keep their leading zeros, and nothing is guessed to be a number."""

import csv
from collections import Counter
from pathlib import Path

from cache_schema.common.errors import ConfigError

TextRow = dict[str, str]

EMPTY_CELLS = frozenset({"", "na", "n/a", "nan", "none", "null"})
"""What people write where nothing is."""

DELIMITERS = ("\t", ",", ";", "|")


def read_text_table(path: Path) -> tuple[list[str], list[TextRow]]:
    """Column names and rows of a table.

    The delimiter is a tab for `.tsv`; otherwise whichever splits the header line most.

    Raises:
        ConfigError: If the file cannot be read, has no rows, a doubled column, or a row of another length.
    """
    if path.exists() and not path.is_file():  # who opens a fifo waits for ever
        raise ConfigError(f"cannot read the table {str(path)!r}: it is no ordinary file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read the table {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the table {str(path)!r} is not UTF-8 text: save it as CSV or TSV in UTF-8"
        ) from error
    lines = [line for line in lines if line.strip()]
    if len(lines) < 2:
        raise ConfigError(f"the table {str(path)!r} needs a header line and at least one row")
    header, *body = csv.reader(lines, delimiter=_delimiter(path, lines[0]), skipinitialspace=True)
    names = [name.strip() for name in header]
    if doubled := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise ConfigError(f"the table {str(path)!r} has the column {doubled[0]!r} twice")
    for number, cells in enumerate(body, start=2):
        if len(cells) != len(names):
            raise ConfigError(
                f"row {number} of {str(path)!r} has {len(cells)} cells, the header {len(names)}"
            )
    return names, [dict(zip(names, (cell.strip() for cell in cells), strict=True)) for cells in body]


def _delimiter(path: Path, header: str) -> str:
    """A tab for `.tsv` files that have one; else the most frequent delimiter of the header."""
    if path.suffix.lower() == ".tsv" and "\t" in header:
        return "\t"
    return max(DELIMITERS, key=header.count)


def is_empty(value: str) -> bool:
    """Whether a cell says that there is nothing."""
    return value.lower() in EMPTY_CELLS
