"""Files of a run folder, each written whole or not at all, and its log."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from pandas import DataFrame
from pandas.api import types as pd_types

from cache_schema.common.machine import refuse_machine
from cache_schema.common.text.cells import safe_cell
from cache_schema.files.disk.whole import write_whole


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    write_whole(path, data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 so that nobody ever sees half of it."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a stable layout; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def csv_text(frame: DataFrame, header: bool = True) -> str:
    """A table as CSV without its index, in which no text is one that a spreadsheet would run."""
    safe = frame.rename(columns=_safe)
    for place, dtype in enumerate(safe.dtypes):
        if not pd_types.is_numeric_dtype(dtype):
            safe.isetitem(place, [_safe(value) for value in safe.iloc[:, place]])
    text: str = safe.to_csv(index=False, header=header, lineterminator="\n")
    return text


def _safe(value: Any) -> Any:
    return safe_cell(value) if isinstance(value, str) else value


def write_yaml(path: Path, value: Any) -> None:
    """Write YAML in the order of the keys."""
    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


class _Log(logging.FileHandler):
    """A log whose disk may be full: that ends the run as any other full disk does, with one line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Raise what was caught."""
        error = sys.exc_info()[1]
        if error is not None:
            refuse_machine(error, "write", self.baseFilename)
            raise error


@contextmanager
def log_to(folder: Path) -> Iterator[logging.Logger]:
    """Let the `slicecache` logger write to `log.txt` in a run folder, and notice warnings."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _Log(folder / "log.txt", encoding="utf-8")
    except OSError as error:
        refuse_machine(error, "write", folder / "log.txt")
        raise
    logger = logging.getLogger("slicecache")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        with suppress(OSError):  # what could not be written was said when it was logged
            handler.close()
