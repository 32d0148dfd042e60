"""An input by what lies there: a BIDS folder, a folder of images, a manifest, or image files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache_schema.common.errors import ConfigError
from cache_schema.store.wanted import FILTERS
from extract.sources.walk import IMAGES

TABLES = (".tsv", ".csv", ".txt", ".xlsx", ".parquet")


def input_of(
    where: str | Path | Sequence[str | Path], filters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a pipeline file would have below `extract.input`.

    Args:
        where: One place, or several image files.
        filters: Of a BIDS folder: which volumes were meant before.

    Raises:
        ConfigError: If there is no such place, or no image in it.
    """
    given = [where] if isinstance(where, str | Path) else list(where)
    places = [os.path.abspath(os.path.expanduser(each)) for each in given]
    folders = [place for place in places if os.path.isdir(place)]
    if len(places) == 1 and folders:
        return _of_folder(Path(places[0]), filters or {})
    tables = [place for place in places if place.lower().endswith(TABLES)]
    if len(places) == 1 and tables:
        return {"manifest": places[0]}
    if folders or tables or not places:
        what = repr((folders or tables or [""])[0])
        raise ConfigError(
            f"images are one BIDS folder, one manifest, or image files, and {what} is one of "
            f"{len(places)} places"
        )
    if len(places) == 1 and not os.path.exists(places[0].partition(":/")[0]):
        raise ConfigError(f"there are no images at {places[0]!r}")
    return {"files": places}


def _of_folder(folder: Path, filters: Mapping[str, Any]) -> dict[str, Any]:
    """A BIDS root, or a folder with images in it.

    Raises:
        ConfigError: If it is neither.
    """
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries)
    if any(is_folder and name.startswith("sub-") for name, is_folder in found):
        # And nothing else that a bundle may say.
        meant = {name: filters[name] for name in FILTERS if name in filters}
        return {**meant, "bids": str(folder)}
    images = [name for name, is_folder in found if not is_folder and name.lower().endswith(IMAGES)]
    if not images:
        raise ConfigError(
            f"the folder {str(folder)!r} is no BIDS root (it has no sub-* folder), and no image lies in it"
        )
    return {"files": [str(folder / name) for name in images]}
