"""Cells that have a type, as they would stand in a CSV: what workbooks and Parquet files hold."""

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal

MOST_CELLS = 20_000_000
"""Of one table: ten times what 16,000 visits with 110 columns have."""
MOST_ROWS = 1 << 20
"""As many as a spreadsheet may have."""
LONGEST_CELL = 131_072
"""Characters, as of a CSV."""


def cell_text(value: object) -> str:
    """One spelling per value; whole numbers have no decimals, dates are ISO's, nothing is empty.

    Raises:
        ValueError: If it is neither text, number, truth value nor date.

    Example:
        >>> [cell_text(value) for value in (1.0, 0.5, True, date(2020, 1, 3), None)]
        ['1', '0.5', 'true', '2020-01-03', '']
    """
    match value:
        case None:
            return ""
        case str():
            return value.strip()
        case bool():
            return "true" if value else "false"
        case float():
            return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
        case int() | Decimal():
            return str(value)
        case datetime():
            midnight = value.time() == time() and value.tzinfo is None
            return value.date().isoformat() if midnight else value.isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
    raise ValueError(f"a cell is a {type(value).__name__}, not text, a number or a date")
