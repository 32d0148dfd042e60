"""Finished work in the run folder, so that a killed ablation goes on: one file per portion of runs.

A file's name is the digest of everything that its numbers depend on. What does not match is never read,
and what is damaged is done again. No pickle: safetensors, with a checksum over numbers and description.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from aggregate.common.arrays import Floats
from aggregate.common.checksum import checksum
from cache_schema.common.stored_json import read_json
from cache_schema.files.disk.whole import write_whole
from cache_schema.format.canonical import canonical_json

Arrays = Mapping[str, Floats]

META = "meta"
"""The array that holds the description: UTF-8 JSON as bytes."""


class Journal:
    """Files of one folder, each written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        """Hold a folder; it is made when the first file is written."""
        self.folder = folder

    def write(self, key: str, arrays: Arrays, body: Any) -> None:
        """Keep a result under its key.

        Args:
            key: Digest of what the result depends on.
            arrays: Numbers by name.
            body: Anything that JSON holds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        meta = canonical_json({"body": body, "sha256": checksum(arrays, body)})
        data = save({**arrays, META: np.frombuffer(meta, dtype=np.uint8)})
        write_whole(self._path(key), data)

    def read(self, key: str) -> tuple[dict[str, Floats], Any] | None:
        """A result, or None when it is not there or damaged."""
        try:
            arrays = load(self._path(key).read_bytes())
            meta = read_json(arrays.pop(META).tobytes())
            sound = meta["sha256"] == checksum(arrays, meta["body"])
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            logging.getLogger("slicecache").warning(
                "%s in the journal is damaged: those runs are trained again", self._path(key).name
            )
            return None
        return arrays, meta["body"]

    def _path(self, key: str) -> Path:
        return self.folder / f"{key[:40]}.safetensors"
