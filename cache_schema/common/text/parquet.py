"""A Parquet file as rows of text."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from cache_schema.common.errors import ConfigError
from cache_schema.common.text.values import LONGEST_CELL, MOST_CELLS, MOST_ROWS, cell_text

if TYPE_CHECKING:
    from pyarrow import Array, DataType

MAGIC = b"PAR1"
BLOCK = 4096
"""Rows that are turned into text at once."""


def parquet_rows(data: bytes, what: str) -> list[tuple[int, list[str]]]:
    """Column names and rows with their numbers; the names are row 1.

    Args:
        data: The file.
        what: Begins sentences, e.g. `the table 'a.parquet'`.

    Raises:
        ConfigError: If pyarrow is not installed, or the file is broken, too large, or has columns of what
            is neither text, numbers nor dates.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what} is a Parquet file, which needs {error.name}: pip install 'slicecache[tables]'"
        ) from error
    try:
        file = ParquetFile(BytesIO(data))
        _refuse_shape(file, what)
        rows = [(1, [str(name) for name in file.schema_arrow.names])]
        for batch in file.iter_batches(BLOCK, use_threads=False):
            columns = [_texts(column) for column in batch.columns]
            rows += enumerate(map(list, zip(*columns, strict=True)), start=len(rows) + 1)
    except (ArrowException, OSError, ValueError, OverflowError) as error:
        name = type(error).__name__
        raise ConfigError(f"{what} is no Parquet file that can be read ({name}); write it again") from error
    return rows


def _refuse_shape(file: Any, what: str) -> None:
    """Hold it to caps before a row is read.

    Raises:
        ConfigError: If it has too many rows or cells, or a column of another kind.
    """
    names, rows = file.schema_arrow.names, file.metadata.num_rows
    if rows > MOST_ROWS or rows * len(names) > MOST_CELLS:
        raise ConfigError(f"{what} has more than {MOST_ROWS} rows or {MOST_CELLS} cells")
    for field in file.schema_arrow:
        if not _plain(field.type):
            raise ConfigError(
                f"{what}: the column {field.name!r} is {str(field.type)[:60]}, not text, numbers, truth "
                "values or dates"
            )


def _plain(kind: "DataType") -> bool:
    """Whether a column can stand in a CSV."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    tests = (
        types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean,
        types.is_decimal, types.is_date, types.is_timestamp, types.is_null,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _texts(column: "Array") -> list[str]:
    """A column's cells."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_dictionary(column.type):
        column = column.cast(kind)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        # As they were written: 0.1 and not 0.10000000149011612.
        return [
            cell_text(None if text is None else float(text)) for text in column.cast("string").to_pylist()
        ]
    texts = [cell_text(value) for value in column.to_pylist()]
    if any(len(text) > LONGEST_CELL for text in texts):
        raise ValueError("a cell is too long")
    return texts
