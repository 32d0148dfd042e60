"""A table of labels that Python gave as a DataFrame: stage two reads it as any other, from a file.

What a cell means is decided in one place, of text. Errors call it what the caller has: the DataFrame.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from aggregate.common.artefacts import csv_text, write_text
from cache_schema.common.errors import SlicecacheError

FILE = "cohort.csv"


def written_table(frame: pd.DataFrame, folder: Path) -> Path:
    """The DataFrame as a file in a folder, which is made; an index that has a name is a column as others are.

    Returns:
        Where it lies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    write_text(path, csv_text(_with_index(frame)))
    return path


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Named levels of the index in front of the columns, but for those that are columns already."""
    index = frame.index
    plain = frame.reset_index(drop=True)
    levels = [level for level, name in enumerate(index.names) if name not in (None, *frame.columns)]
    for place, level in enumerate(levels):
        plain.insert(place, index.names[level], index.get_level_values(level))
    return plain


@contextmanager
def called_dataframe(given: Any) -> Iterator[None]:
    """Let errors speak of the DataFrame, if one was given, and not of the file that it was written to."""
    try:
        yield
    except SlicecacheError as error:
        if isinstance(given, pd.DataFrame):
            told = re.sub(rf"(the cohort table )?'[^']*/{re.escape(FILE)}'", "the DataFrame", str(error))
            error.args = (re.sub(rf"(?<![\w/.-]){re.escape(FILE)}\b", "the DataFrame", told),)
        raise
