"""Whether a checkpoint folder has all that is read of one."""

import os
from pathlib import Path

from cache_schema.common.stored_json import MEBIBYTE, read_object
from cache_schema.common.text.mistakes import shown

LARGEST_INDEX = 16 * MEBIBYTE
INDEX = "model.safetensors.index.json"


def incomplete(folder: Path) -> str | None:
    """What a checkpoint folder lacks, e.g. after a copy that was interrupted; None when it is whole."""
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r}"
    if not (folder / "config.json").is_file():
        return f"{str(folder)!r} has no config.json"
    if not any(folder.glob("*.safetensors")):
        return f"{str(folder)!r} has no .safetensors file (pickled weights are not read)"
    return _part_missing(folder)


def _part_missing(folder: Path) -> str | None:
    """Of weights in several files, the first that the index names and the folder has not."""
    index = folder / INDEX
    if not index.is_file():
        return None
    try:
        parts = read_object(index.read_bytes(), LARGEST_INDEX).get("weight_map")
    except (OSError, ValueError) as error:
        return f"{str(index)!r} cannot be read: {error}"
    names = set(parts.values()) if isinstance(parts, dict) else set()
    for name in sorted(name for name in names if isinstance(name, str)):
        # An index is somebody else's, and asks about nothing outside.
        if name != os.path.basename(name):
            return f"{str(index)!r} names {shown(name)}, which is no file of this folder"
        if not (folder / name).is_file():
            return f"{str(folder)!r} has no {name!r}, which its index names"
    return None
