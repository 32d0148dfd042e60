"""Cells of the tables that we write for people: none that a spreadsheet would run, and none that is lost.

A spreadsheet computes a cell that begins with `=`, `+`, `-` or `@`, and ids, labels and file names are
whatever somebody gave. Such a cell is written with an apostrophe before it, which spreadsheets take for
"this is text"; numbers stay numbers. Whoever reads a table of ours takes the apostrophe off again, so ids
still join.
"""

import re

RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters of what spreadsheets may run; the wide ones are the same to some of them."""
NUMBER = re.compile(r"[+-](\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def safe_cell(text: str) -> str:
    """A cell as it is written.

    Example:
        >>> [safe_cell(text) for text in ("=1+1", "-1.5", "sub-01", "'=1")]
        ["'=1+1", '-1.5', 'sub-01', "''=1"]
    """
    return f"'{text}" if text.lstrip("'").startswith(RUN) and not NUMBER.fullmatch(text) else text


def plain_cell(text: str) -> str:
    """A cell as it was before `safe_cell`."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(RUN) else text
