"""What a cell of a table means: missing, a number, or text; and names that were nearly right."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
CODE = re.compile(r"[+-]?0\d")
"""A leading zero marks a code (site 007), which must stay text."""
MISSING = {"", "n/a", "na", "nan", "none", "null", "<na>"}
"""Spellings of a missing value, in lower case; `n/a` is the one of BIDS."""


def read_number(text: str) -> float | None:
    """The number that a cell spells, or None when it is text, a code, or missing."""
    text = text.strip()
    return float(text) if NUMBER.fullmatch(text) and not CODE.match(text) else None


def value_name(value: object) -> str:
    """One spelling per value: 1, 1.0, "1" and "1.0" are all `1`; text is stripped."""
    text = str(value).strip()
    number = read_number(text)
    if number is None or not np.isfinite(number):
        return text
    return str(int(number)) if number == int(number) else repr(number)


def is_missing(text: str, codes: Iterable[str] = ()) -> bool:
    """Whether a cell is empty, spells a missing value, or holds one of the user's codes."""
    return text.strip().lower() in MISSING or value_name(text) in codes


def typed(cells: Sequence[str], codes: Iterable[str] = ()) -> "pd.Series[Any]":
    """A column of float64 when every cell that is there spells a number, else of text; NaN where missing."""
    codes = set(codes)
    gone = [is_missing(cell, codes) for cell in cells]
    numbers = [None if miss else read_number(cell) for cell, miss in zip(cells, gone, strict=True)]
    if all(miss or number is not None for miss, number in zip(gone, numbers, strict=True)):
        return pd.Series([np.nan if n is None else n for n in numbers], dtype="float64")
    return pd.Series([np.nan if m else c.strip() for c, m in zip(cells, gone, strict=True)], dtype="object")


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which `ses-2` comes before `ses-10`."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts)


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'age'?`, ignoring case, or the list of what there is."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    if found:
        return f"; did you mean {by_lower[found[0]]!r}?"
    return f"; there are {listed(known)}" if known else ""


def listed(names: Sequence[str], most: int = 8) -> str:
    """Up to `most` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
