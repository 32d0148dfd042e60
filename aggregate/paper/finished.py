"""A verb's finished folder as it is read again: its numbers, its configuration, its stores' headers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aggregate.common.run_folder import CONFIG, KEPT, LOCK, METRICS_FILE
from aggregate.report.pages.kept import MOST_BYTES
from cache_schema.common.errors import ConfigError
from cache_schema.common.machine import refuse_machine
from cache_schema.common.stored_json import StoredJsonError, read_object
from cache_schema.common.text.yaml_text import read_yaml
from cache_schema.format.header import Header

TO_FILL = "TO BE FILLED"
"""What the run does not know; a person does."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a verb left in its folder."""

    folder: Path
    verb: str
    metrics: dict[str, Any]
    """As in `metrics.json`."""
    config: dict[str, Any]
    """As in `config.yaml`; empty where there is none."""
    headers: dict[str, Header]
    """By the store's name; empty of a run from before they were kept."""
    kept: dict[str, Any]
    """As in `report.json`; empty likewise."""
    lock: tuple[str, ...] = ()
    """Lines of `requirements.lock`."""

    @property
    def section(self) -> Mapping[str, Any]:
        """The `aggregate` section."""
        found = self.config.get("aggregate")
        return found if isinstance(found, dict) else {}

    @property
    def header(self) -> Header | None:
        """Of the first store."""
        return next(iter(self.headers.values()), None)

    @property
    def page(self) -> Mapping[str, Any]:
        """What the report shows."""
        found = self.kept.get("page")
        return found if isinstance(found, dict) else {}

    def said(self, *path: str) -> Any:
        """A value of the `aggregate` section, or None: `said("folds", "n")`."""
        value: Any = self.section
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_finished(folder: Path, verb: str) -> Finished:
    """Read a verb's folder.

    Raises:
        ConfigError: If a file in it cannot be read.
    """
    metrics = _object(folder / METRICS_FILE)
    kept = _object(folder / KEPT) if (folder / KEPT).is_file() else {}
    config: Any = {}
    if (folder / CONFIG).is_file():
        config = read_yaml(folder / CONFIG, f"the configuration {str(folder / CONFIG)!r}")
    lock = read_bytes(folder / LOCK).decode(errors="replace") if (folder / LOCK).is_file() else ""
    try:
        given = kept.get("headers") or {}
        headers = {str(name): Header.model_validate(value) for name, value in given.items()}
    except (ValidationError, AttributeError) as error:
        raise ConfigError(
            f"{str(folder / KEPT)!r} holds a header that is none ({type(error).__name__})"
        ) from None
    lines = tuple(line for line in lock.splitlines() if line and not line.startswith("#"))
    return Finished(folder, verb, metrics, config if isinstance(config, dict) else {}, headers, kept, lines)


def read_bytes(path: Path) -> bytes:
    """A file of a run folder, which somebody may have sent.

    Raises:
        ConfigError: If it cannot be read, is a link, or is larger than a run leaves one.
    """
    if path.is_symlink() or path.parent.is_symlink():
        raise ConfigError(f"{str(path)!r} is a link, or lies behind one: a run folder holds files of its own")
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        refuse_machine(error, "read", path)
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{str(path)!r} has more than {MOST_BYTES} bytes, which no run leaves")
    return data


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_object(read_bytes(path), MOST_BYTES)
    except StoredJsonError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error}") from None
