"""What a fit has made so far, as one safetensors file per detector and seed, replaced whole.

Its metadata hold one JSON value: the detector's spec, seed, the digests of both streams, and the epoch.
In one file, numbers and words cannot come from two different epochs.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cache_schema.common.machine import refuse_machine
from cache_schema.common.stored_json import read_json
from cache_schema.common.strict import Strict, later
from cache_schema.files.disk.whole import replacing
from cache_schema.format.canonical import sha256_json
from cache_schema.format.header import differing_fields

METADATA = "slicecache"


class Identity(Strict):
    """What a fit follows from: two fits with one identity end at the same model."""

    detector: dict[str, Any]
    """The spec."""
    seed: int
    stream: str
    """`SliceStream.digest`."""
    calibration: str | None = None
    """`SliceStream.digest` of the calibration slices."""
    source: str | None = later(None)
    """Digest of the code of a detector from outside."""

    @property
    def digest(self) -> str:
        """Of all of it."""
        return sha256_json(self.model_dump(mode="json"))


class CheckpointCard(Strict):
    """The words beside the numbers."""

    format: Literal["slicecache-detector-checkpoint"] = "slicecache-detector-checkpoint"
    version: Literal[1] = 1
    identity: Identity
    epoch: int
    """Whole epochs."""
    complete: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A detector's state behind an epoch."""

    identity: Identity
    epoch: int
    """Whole epochs."""
    complete: bool
    state: Mapping[str, Tensor]


def checkpoint_path(folder: Path, identity: Identity) -> Path:
    """Where a detector of this spec and seed is kept."""
    spec = sha256_json(identity.detector)[:8]
    return folder / f"{identity.detector['kind']}-{spec}-s{identity.seed}.safetensors"


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint; a kill leaves the old one or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, checkpoint.identity)
    card = CheckpointCard(identity=checkpoint.identity, epoch=checkpoint.epoch, complete=checkpoint.complete)
    tensors = {name: value.detach().contiguous() for name, value in checkpoint.state.items()}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={METADATA: card.model_dump_json()})


def read_checkpoint(folder: Path, identity: Identity) -> Checkpoint | None:
    """The checkpoint of this very fit; None, and a sentence in the log, when there is another one."""
    path = checkpoint_path(folder, identity)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            card = CheckpointCard.model_validate(read_json(file.metadata()[METADATA].encode()))
            if card.identity == identity:
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return Checkpoint(identity, card.epoch, card.complete, state)
    except (OSError, SafetensorError, ValidationError, KeyError, TypeError, ValueError) as error:
        refuse_machine(error, "read", path)
        reason = f"cannot be read ({' '.join(str(error).split())})"
    else:
        ours, theirs = identity.model_dump(mode="json"), card.identity.model_dump(mode="json")
        reason = f"is of another fit ({'; '.join(differing_fields(ours, theirs))})"
    logging.getLogger("slicecache").warning("the checkpoint %s %s, so the fit starts anew", path, reason)
    return None
