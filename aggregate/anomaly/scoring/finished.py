"""Finished scores in the run folder, one file per volume and fit, so that a killed run goes on.

A fit's folder holds what its scores follow from; when that changes, everything in it is scored again. A file
that does not belong to the volume as it is now, or is damaged, is not there.
"""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from aggregate.anomaly.scoring.volumes import VolumeScores
from aggregate.common.artefacts import write_text
from aggregate.common.checksum import checksum
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.machine import refuse_machine
from cache_schema.common.stored_json import read_json
from cache_schema.files.disk.whole import replacing
from cache_schema.store.reader import VolumeEntry

IDENTITY_FILE = "identity"
SCORES_METADATA = "slicecache"


@dataclass(frozen=True, slots=True)
class ScoreBook:
    """The scores of one fit."""

    folder: Path

    @classmethod
    def open(cls, folder: Path, identity: str) -> "ScoreBook":
        """Open a fit's folder, emptied if it is of another fit.

        Args:
            folder: Of this detector and seed.
            identity: Digest of all that the scores follow from, but the volume.
        """
        held = folder / IDENTITY_FILE
        if held.is_file() and held.read_bytes() == identity.encode():
            return cls(folder)
        if folder.is_symlink():
            raise SlicecacheError(f"{str(folder)!r} is a symbolic link, and its scores are not this fit's")
        if folder.exists():
            logging.getLogger("slicecache").info("%s is of another fit: all is scored again", folder.name)
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        write_text(held, identity)
        return cls(folder)

    def _path(self, entry: VolumeEntry) -> Path:
        return self.folder / f"{entry.key.digest[:40]}.safetensors"

    def write(self, entry: VolumeEntry, scores: VolumeScores) -> None:
        """Keep a volume's scores, whole or not at all."""
        path = self._path(entry)
        card = {
            "volume": entry.digest,
            "seconds": scores.seconds,
            "sha256": checksum({"tokens": scores.tokens, "slices": scores.slices}),
        }
        arrays = {"tokens": np.ascontiguousarray(scores.tokens), "slices": scores.slices}
        with replacing(path) as beside:
            save_file(arrays, beside, metadata={SCORES_METADATA: json.dumps(card)})

    def lacks(self, entries: Sequence[VolumeEntry], identity: str) -> list[VolumeEntry]:
        """Volumes without a file of the fit with this identity; nothing is read or written."""
        held = self.folder / IDENTITY_FILE
        own = held.is_file() and held.read_bytes() == identity.encode()
        names = set(os.listdir(self.folder)) if own else set()
        return [entry for entry in entries if self._path(entry).name not in names]

    def has(self, entry: VolumeEntry) -> bool:
        """Whether a volume is scored."""
        return self.read(entry) is not None

    def read(self, entry: VolumeEntry) -> VolumeScores | None:
        """A volume's scores, or None."""
        path = self._path(entry)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                card = read_json(file.metadata()[SCORES_METADATA].encode())
                tokens, slices = file.get_tensor("tokens"), file.get_tensor("slices")
            seconds, volume = float(card["seconds"]), card["volume"]
            if card["sha256"] != checksum({"tokens": tokens, "slices": slices}):
                raise ValueError("its checksum differs")
        except (OSError, SafetensorError, LookupError, OverflowError, TypeError, ValueError) as error:
            refuse_machine(error, "read", path)
            logging.getLogger("slicecache").warning(
                "%s cannot be read (%s): that volume is scored again", path.name, error
            )
            return None
        return VolumeScores(tokens, slices, seconds) if volume == entry.digest else None
