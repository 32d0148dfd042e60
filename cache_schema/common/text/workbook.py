"""A sheet of an .xlsx workbook as rows of text. Nothing in it is computed: no formula, no macro, no link.

What a formula gave when the workbook was last saved is read; one that was never computed is refused.
Before a parser sees it, a file's parts are held to caps: a zip of a megabyte may unpack to a terabyte.
"""

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from cache_schema.common.errors import ConfigError
from cache_schema.common.text.values import LONGEST_CELL, MOST_CELLS, MOST_ROWS, cell_text

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook

MAGIC = b"PK\x03\x04"
MEBIBYTE = 1 << 20
MOST_PARTS = 2_000
LARGEST_ROWS_PART = 512 * MEBIBYTE
"""Unpacked, of a sheet or of the texts that sheets share: these are read as they come."""
LARGEST_PART = 16 * MEBIBYTE
"""Unpacked, of what is parsed at once: styles, the list of sheets."""
NOT_AVAILABLE = "#N/A"
"""What a look-up says that found nothing: a missing value; other errors are none."""


def workbook_rows(data: bytes, what: str, sheet: str | None) -> list[tuple[int, list[str]]]:
    """Rows of a sheet with their numbers, cells at the end that are empty left out.

    Args:
        data: The file.
        what: Begins sentences, e.g. `the table 'a.xlsx'`.
        sheet: Its name; may be left out where there is but one.

    Raises:
        ConfigError: If openpyxl is not installed, or the workbook is broken, too large, has several sheets
            and none is named, or holds errors or formulas without a value.
    """
    _refuse_large(data, what)
    with _parsing(what):
        with _opened(data, what, computed=False) as book:
            name = _sheet_of(book, what, sheet)
            rows, formulas = _read(book[name], f"sheet {name!r} of {what}")
        if formulas:
            with _opened(data, what, computed=True) as book:
                rows, _ = _read(book[name], f"sheet {name!r} of {what}", formulas)
    return rows


def _refuse_large(data: bytes, what: str) -> None:
    """Hold the zip's parts to caps, which its reader keeps to: it unpacks no more than a part says it has.

    Raises:
        ConfigError: If one is over them, or it is no zip.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
        raise ConfigError(f"{what} is no workbook that can be read: it is a broken zip") from error
    if len(parts) > MOST_PARTS:
        raise ConfigError(f"{what} is no table of people: it is a zip of {len(parts)} parts")
    for part in parts:
        rows = "/worksheets/" in part.filename or part.filename.lower().endswith("sharedstrings.xml")
        most = LARGEST_ROWS_PART if rows else LARGEST_PART
        if part.file_size > most:
            raise ConfigError(
                f"{what} is too large: {part.filename!a:.100} unpacks to {part.file_size // MEBIBYTE} MiB, "
                f"and at most {most // MEBIBYTE} MiB are read; save the sheet as CSV"
            )


@contextmanager
def _parsing(what: str) -> Iterator[None]:
    """Whatever a parser of somebody else's says of a broken file, in one sentence."""
    try:
        with warnings.catch_warnings(action="ignore"):  # on styles and validation that no table has
            yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:
        name = type(error).__name__
        raise ConfigError(
            f"{what} is no workbook that can be read ({name}); save it as .xlsx again"
        ) from error


@contextmanager
def _opened(data: bytes, what: str, computed: bool) -> "Iterator[Workbook]":
    """The workbook, with formulas, or with what they gave when it was saved."""
    try:
        from openpyxl import load_workbook
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what} is an Excel workbook, which needs {error.name}: pip install 'slicecache[tables]'"
        ) from error
    book = load_workbook(BytesIO(data), read_only=True, data_only=computed, keep_links=False)
    try:
        yield book
    finally:
        book.close()


def _sheet_of(book: "Workbook", what: str, sheet: str | None) -> str:
    """The sheet's name, which must be said where there are several."""
    names = [each.title for each in book.worksheets]
    told = ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if sheet is None and len(names) == 1:
        return str(names[0])
    if sheet is None:
        raise ConfigError(f"{what} has {len(names)} sheets: say which by sheet: (there are {told})")
    if sheet not in names:
        raise ConfigError(f"{what} has no sheet {sheet!r}; there are {told}")
    return sheet


def _read(
    sheet: Any, what: str, formulas: dict[tuple[int, int], str] | None = None
) -> tuple[list[tuple[int, list[str]]], dict[tuple[int, int], str]]:
    """Rows as text, and where formulas stand; with `formulas` each of these must have a value."""
    sheet.reset_dimensions()  # programs write wrong ones, and cells outside would be lost
    found: list[tuple[int, list[str]]] = []
    seen: dict[tuple[int, int], str] = {}
    cells = 0
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells += len(row)
        if number > MOST_ROWS or cells > MOST_CELLS:
            raise ConfigError(f"{what} has more than {MOST_ROWS} rows or {MOST_CELLS} cells")
        texts = []
        for place, cell in enumerate(row):
            if cell.data_type == "f":
                seen[number, place] = cell.coordinate
                texts.append("")
                continue
            texts.append(_text(cell, what))
            # An empty text that a formula gave is of the type "str".
            if formulas and (number, place) in formulas and cell.value is None and cell.data_type == "n":
                raise ConfigError(
                    f"{what}: {formulas[number, place]} is a formula without a value, and nothing is "
                    "computed here; open the workbook in a spreadsheet and save it, or save it as CSV"
                )
        while texts and not texts[-1] and (number, len(texts) - 1) not in seen:
            texts.pop()
        found.append((number, texts))
    return found, seen


def _text(cell: Any, what: str) -> str:
    """One cell.

    Raises:
        ConfigError: If it is an error, or too long.
    """
    if cell.data_type == "e":
        if cell.value == NOT_AVAILABLE:
            return "n/a"
        raise ConfigError(
            f"{what}: {cell.coordinate} is the error {cell.value!a:.20}; correct it or empty it"
        )
    text = cell_text(cell.value)
    if len(text) > LONGEST_CELL:
        raise ConfigError(f"{what}: {cell.coordinate} is longer than {LONGEST_CELL} characters")
    # A number that is shown with leading zeros is a code, and a CSV of the sheet would have them, too.
    shown = str(cell.number_format) if cell.data_type == "n" else ""
    return text.zfill(len(shown)) if set(shown) == {"0"} and text.isdigit() else text
