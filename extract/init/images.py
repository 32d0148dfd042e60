"""Where the images are: a BIDS folder, a table with a path per row, or a store that needs no images."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cache_schema.common.errors import ConfigError
from extract.init.asking import Ask
from extract.init.columns import find_role, read_columns
from extract.init.ids import IMAGES, Participants, asked_column
from extract.sources.bids import LABELS
from extract.sources.candidate import bids_parts, stem
from extract.sources.manifest import DEFAULTS
from extract.sources.walk import Walk

STORES = (".zarr", ".zip", ".h5", ".hdf5")
USUAL_SUFFIX = "T1w"
A_FEW = 3
"""Participants whose files say which contrasts a BIDS folder has."""


@dataclass(frozen=True, slots=True)
class Images:
    """What lies where the user says that the images are."""

    place: str
    kind: Literal["bids", "table", "store"]
    input: dict[str, Any]
    """As `extract.input` says it; empty for a store."""
    tokens: tuple[str, ...] = ()
    """Of a store: the arrays that slices may be described by."""


def look(place: str, participants: Participants, ask: Ask) -> Images:
    """What is there.

    Args:
        place: A folder, a table or a store, also one behind a URL.
        participants: Finds the column of the participant, should it be a table.
        ask: How to ask for a column of paths that has no usual name.

    Raises:
        ConfigError: If nothing is there, or none of these.
    """
    path = Path(place).expanduser()
    if "://" in place or path.suffix in STORES or (path / "header.json").is_file():
        return Images(place, "store", {}, _token_arrays(place))
    if path.is_dir():
        return Images(place, "bids", {"bids": place, "suffix": _suffix(path)})
    if path.is_file():
        return Images(place, "table", {"manifest": place, **_columns(path, participants, ask)})
    raise ConfigError(f"there is nothing at {place!r}: a BIDS folder, a table or a store is expected")


def _token_arrays(place: str) -> tuple[str, ...]:
    """The arrays of a store that have a number per slice and dimension, the CLS token first."""
    from cache_schema.store.reader import open_store

    arrays = open_store(place).header.arrays
    names = [array.name for array in arrays if array.dims == ("volume", "slice", "dim")]
    return tuple(sorted(names, key=lambda name: (name != "cls", name)))


def _suffix(root: Path) -> str:
    """Which contrast a BIDS folder has: T1w where it has it, else the most frequent.

    Raises:
        ConfigError: If it has no participant, or no image.
    """
    folders = (entry for entry in root.iterdir() if entry.name.startswith("sub-") and entry.is_dir())
    participants = sorted(folders)[:A_FEW]
    if not participants:
        raise ConfigError(
            f"the folder {str(root)!r} has no sub-* folder, so it is no BIDS dataset; files of any names go "
            "into a table with a path per row"
        )
    named = (bids_parts(stem(path)) for who in participants for path in Walk(root).images(who))
    found = Counter(name for parts, name in named if name not in ("", *LABELS) and "label" not in parts)
    if not found:
        raise ConfigError(f"the first participants of {str(root)!r} have no image")
    return USUAL_SUFFIX if USUAL_SUFFIX in found else found.most_common(1)[0][0]


def _columns(table: Path, participants: Participants, ask: Ask) -> dict[str, Any]:
    """`columns` of a table of volumes, as far as they are not called as usual.

    Raises:
        ConfigError: If no column can be the path, or the participant.
    """
    names = [column.name for column in read_columns(table)]
    rename = f"rename the one that holds them to {DEFAULTS['path']!r}"
    found = {
        "participant": participants.column(table, names, IMAGES),
        "path": find_role("path", names) or asked_column("paths", table, names, ask, rename),
        "session": find_role("session", names),
    }
    unusual = {role: name for role, name in found.items() if name and name.lower() != DEFAULTS[role]}
    return {"columns": unusual} if unusual else {}
