"""A table of somebody's as rows of text: nothing is guessed, and broken ones are refused by line.

What a file is, is seen by how it begins, not by its name: an .xlsx workbook, Parquet, or else text.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from cache_schema.common.errors import ConfigError
from cache_schema.common.text import parquet, workbook
from cache_schema.common.text.cells import plain_cell

OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
"""How .xls begins, and a workbook with a password."""
MOST_BYTES = 256 << 20
"""Of one table: a thousand times a cohort of thousands."""

Row = tuple[int, list[str]]
"""The line that a row ends on, counted from 1, and its cells, stripped."""


def read_rows(path: Path, what: str, delimiters: Sequence[str], sheet: str | None = None) -> list[Row]:
    """Header and rows of a table; lines without a cell are skipped.

    Of text the delimiter is whichever the header line has most of. Rows may end in any way, also in several;
    a quote that is opened must be closed. An apostrophe that we put before a cell (`safe_cell`) is taken off.

    Args:
        path: CSV or TSV in UTF-8, with or without a byte-order mark; an .xlsx workbook; Parquet.
        what: Begins sentences, e.g. `the table 'a.csv'`.
        delimiters: To choose from; the first wins where none is there.
        sheet: Of a workbook; needed where it has several.

    Raises:
        ConfigError: If it cannot be read, is no such table, or is broken.
    """
    data = _bytes(path, what)
    if data.startswith(workbook.MAGIC):
        rows = _filled(workbook.workbook_rows(data, what, sheet))
    elif sheet is not None:
        raise ConfigError(f"{what} is no workbook, so it has no sheet {sheet!r}")
    elif data.startswith(parquet.MAGIC) and data.endswith(parquet.MAGIC):
        rows = parquet.parquet_rows(data, what)
    else:
        rows = _text_rows(_content(data, what), what, delimiters)
    plain = [(line, [plain_cell(cell) for cell in cells]) for line, cells in rows]
    return [(line, cells) for line, cells in plain if any(cells)]


def _filled(rows: list[Row]) -> list[Row]:
    """Rows of a sheet, each as long as its header: a row ends where its last cell is."""
    width = next((len(cells) for _, cells in rows if any(cells)), 0)
    return [(line, cells + [""] * (width - len(cells))) for line, cells in rows]


def _text_rows(content: str, what: str, delimiters: Sequence[str]) -> list[Row]:
    """Rows of a CSV or TSV."""
    first = content.lstrip("\r\n").splitlines()[:1] or [""]
    delimiter = max(delimiters, key=first[0].count)
    reader = csv.reader(
        io.StringIO(content, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows: list[Row] = []
    try:
        rows += ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader)
    except csv.Error as error:
        line = rows[-1][0] + 1 if rows else 1
        raise ConfigError(f"{what} is broken from line {line} on: {_reason(error)}") from error
    return rows


def _bytes(path: Path, what: str) -> bytes:
    """The file.

    Raises:
        ConfigError: If it is not there or too large.
    """
    try:
        if path.exists() and not path.is_file():  # who opens a fifo waits for ever
            raise ConfigError(f"cannot read {what}: it is no ordinary file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {what}: {getattr(error, 'strerror', None) or 'no path'}") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{what} is larger than {MOST_BYTES >> 20} MiB: is it a table of people?")
    return data


def _content(data: bytes, what: str) -> str:
    """The file's text.

    Raises:
        ConfigError: If it is not UTF-8, or has a NUL.
    """
    if data.startswith(OLD_WORKBOOK):
        raise ConfigError(
            f"{what} is an old .xls workbook, or one with a password: save it as .xlsx without one, or as CSV"
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{what} is UTF-16, not UTF-8 text: save it as CSV or TSV in UTF-8")
    if b"\x00" in data:
        line = data.count(b"\n", 0, data.index(b"\x00")) + 1
        raise ConfigError(f"{what} has a NUL on line {line}, so it is no UTF-8 text: save it as CSV in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} is not UTF-8 text: save it as CSV or TSV in UTF-8") from error


def _reason(error: csv.Error) -> str:
    """The reader's complaint in words."""
    said = str(error)
    if "end of data" in said:
        return "a quote is opened and never closed"
    if "field larger" in said:
        return f"a cell is longer than {csv.field_size_limit()} characters; is a quote never closed?"
    return "a quote stands inside a quoted cell; write it twice"
