"""The two files of a bundle, of heads or of detectors: a card in JSON, and the tensors that it vouches for.

`bundle.json` names the SHA-256 of `members.safetensors`. It is written last, so that a folder without one is
no bundle; neither is ever a pickle, and no part from outside is imported because a card names it.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aggregate.common.artefacts import write_bytes
from aggregate.predict.seen import holders_of
from cache_schema.common.custom import give, permit
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.one_line import printable
from cache_schema.common.stored_json import MEBIBYTE, StoredJsonError, read_object
from cache_schema.common.strict import Strict, later, refusal
from cache_schema.files.opened import OpenedFile
from cache_schema.format.header import Fingerprint, Numerics
from cache_schema.format.limits import Digest
from cache_schema.store.wanted import WantedStore

CARD_FILE = "bundle.json"
WEIGHTS_FILE = "members.safetensors"
CARD_BYTES = 256 * MEBIBYTE
WEIGHTS_BYTES = 64 * 1024 * MEBIBYTE
"""A bank of 10 million tokens has 15 GB."""
DTYPES = frozenset(
    {
        torch.float16, torch.bfloat16, torch.float32, torch.float64,
        torch.int32, torch.int64, torch.uint8, torch.bool,
    }
)  # fmt: skip


class CardBase(Strict):
    """What the card of every bundle says."""

    format: str
    version: Literal[1] = 1
    fingerprint: Fingerprint
    numerics: Numerics
    making: dict[str, Any] = later({})
    """How more such embeddings are made, see `making_of`; nothing in bundles of before."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Summary of how it was made, and what it measured."""
    volumes: dict[str, tuple[Digest, ...]] = later({})
    """Digests of every volume that had a part in it, by participant (see `predict.seen`); none in bundles of
    before."""
    weights_sha256: str = ""
    """Of `members.safetensors`; filled in when the bundle is saved."""

    @property
    def holders(self) -> dict[str, frozenset[str]]:
        """Whose a volume of these contents is; nothing in bundles of before."""
        return holders_of(self.volumes)

    def wants(self, arrays: Sequence[str]) -> WantedStore:
        """The store that it can be applied to."""
        return WantedStore(self.fingerprint, self.numerics, tuple(arrays), self.making)


def read_file(path: Path, limit: int) -> bytes:
    """A file of a bundle, which may come from anybody: a file it is, and no link to somewhere else.

    Raises:
        OSError: If it cannot be read.
        SlicecacheError: If it is a link, a pipe, or larger than `limit` bytes.
    """
    with OpenedFile(str(path)) as opened:
        if opened.size > limit:
            raise SlicecacheError(f"{path} has {opened.size} bytes, {limit} at most are read")
        return opened.read()


def require_numbers(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors of odd types, and NaN and infinity: one NaN weight makes every prediction one class.

    Raises:
        SlicecacheError: Naming the first.
    """
    for name, value in tensors.items():
        if value.dtype not in DTYPES:
            raise SlicecacheError(f"{where}: {name:.200} is of {value.dtype}, which no bundle holds")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise SlicecacheError(
                f"{where}: {name:.200} holds NaN or infinity, so every prediction would be of one class; "
                "train it again"
            )


AnyCard = TypeVar("AnyCard", bound=CardBase)


def write_bundle_files(folder: Path, card: CardBase, tensors: Mapping[str, Tensor]) -> None:
    """Write both files, each whole or not at all, and the card last."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    weights = save(whole, metadata={"format": card.format})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD_FILE).unlink(missing_ok=True)
    signed = card.model_copy(update={"weights_sha256": sha256(weights).hexdigest()})
    write_bytes(folder / WEIGHTS_FILE, weights)
    write_bytes(folder / CARD_FILE, signed.model_dump_json(indent=1).encode())


def read_card(folder: Path, model: type[AnyCard]) -> AnyCard:
    """Read and validate `bundle.json`.

    Raises:
        SlicecacheError: If it is not there, or not one of this kind and version.
    """
    path = folder / CARD_FILE
    try:
        raw = read_object(read_file(path, CARD_BYTES), CARD_BYTES)
        return model.model_validate(raw)
    except OSError as error:
        raise SlicecacheError(
            f"{folder} is not a bundle: {CARD_FILE} cannot be read ({error.strerror})"
        ) from error
    except ValidationError as error:
        raise SlicecacheError(f"{path} is not a bundle of this version: {refusal(error, 'it')}") from None
    except StoredJsonError as error:
        raise SlicecacheError(f"{path} is not a bundle: {error}") from error


def read_tensors(folder: Path, card: CardBase) -> dict[str, Tensor]:
    """Read the tensors that a card was written for.

    Raises:
        SlicecacheError: If they are not there, unreadable, others, or hold what no training leaves behind.
    """
    try:
        weights = read_file(folder / WEIGHTS_FILE, WEIGHTS_BYTES)
        if sha256(weights).hexdigest() != card.weights_sha256:
            raise SlicecacheError(
                f"{folder / WEIGHTS_FILE} is not the file that {CARD_FILE} was written for (its SHA-256 "
                "differs); copy the bundle again"
            )
        tensors = dict(load(weights))
        require_numbers(tensors, str(folder / WEIGHTS_FILE))
        return tensors
    except (OSError, SafetensorError) as error:
        why = printable(str(error)[:200])
        raise SlicecacheError(f"the weights of the bundle {folder} cannot be read: {why}") from error


def tensors_below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with `prefix/`, by the rest of their name."""
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def allow_parts(targets: Iterable[str], given: Iterable[Any], allow: bool) -> None:
    """Let parts from outside be built: those that are handed over, or all that a card names.

    Args:
        targets: Of the card.
        given: Classes that stand behind them.
        allow: The caller trusts whatever code the targets name.
    """
    for part in given:
        give(part)
    for target in targets if allow else ():
        permit(target)
