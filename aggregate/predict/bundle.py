"""A bundle: trained heads that can be applied elsewhere, as JSON and safetensors, never a pickle.

`bundle.json` says what the members are, which tokens they read and who they saw in training;
`members.safetensors` holds their weights as `<member>/<parameter>`. No Python name of ours is stored, and
a custom head's target is text, which nothing imports unless the caller permits it.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aggregate.heads.base import Head
from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.registry import HeadSpec
from aggregate.training.runs import TrainedRun
from cache_schema.common.custom import give, permit
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import Strict, refusal
from cache_schema.format.header import Fingerprint, Numerics

CARD_FILE = "bundle.json"
WEIGHTS_FILE = "members.safetensors"


class Member(Strict):
    """One trained head, what it saw, and how its logits become a decision."""

    name: str = Field(pattern=r"^[^/ ]+$")
    """Unique in the bundle, e.g. `r0-f3-s0`."""
    configuration: str
    repeat: int
    fold: int
    seed: int
    participants: tuple[str, ...]
    """Everybody whose data had a part in it: training, stopping, threshold and temperature."""
    threshold: float = 0.5
    """On the positive class's probability."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits before the softmax."""
    best_epoch: int
    epochs: int


class BundleCard(Strict):
    """All that a bundle says in words and numbers."""

    format: Literal["slicecache-bundle"] = "slicecache-bundle"
    version: Literal[1] = 1
    fingerprint: Fingerprint
    numerics: Numerics
    tokens: str
    """The array of the store that the head reads."""
    dim: PositiveInt
    classes: tuple[str, ...] = Field(min_length=2)
    """Labels in the order of the logits."""
    positive: str | None = None
    """The label that a binary threshold is about."""
    head: HeadSpec
    members: tuple[Member, ...] = Field(min_length=1)
    training: dict[str, Any] = Field(default_factory=dict)
    """Summary of how it was trained: target, loss, train, folds, out-of-fold metrics and the like."""
    weights_sha256: str = ""
    """Of `members.safetensors`; filled in when the bundle is saved."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"member names are not unique: {', '.join(sorted(names))}")
        if self.positive is not None and (self.positive not in self.classes or len(self.classes) != 2):
            raise ValueError(f"positive is {self.positive!r}, which is none of two classes {self.classes}")
        return self


@dataclass(frozen=True, slots=True)
class Bundle:
    """The card and each member's weights, in the card's order."""

    card: BundleCard
    states: tuple[dict[str, Tensor], ...]

    def head(self) -> Head:
        """The head that the weights belong to."""
        return self.card.head.build(self.card.dim, len(self.card.classes))


def member_of(
    run: TrainedRun, participants: Sequence[str], threshold: float = 0.5, temperature: float = 1.0
) -> Member:
    """Describe one trained run; `participants` are those of its training and validation bags."""
    spec = run.spec
    return Member(
        name=f"r{spec.repeat}-f{spec.fold}-s{spec.seed}",
        configuration=spec.configuration,
        repeat=spec.repeat,
        fold=spec.fold,
        seed=spec.seed,
        participants=tuple(sorted(set(participants))),
        threshold=threshold,
        temperature=temperature,
        best_epoch=run.best_epoch,
        epochs=run.epochs,
    )


def save_bundle(folder: str | Path, bundle: Bundle) -> None:
    """Write both files; the card comes last, so that a folder without one is no bundle.

    Raises:
        SlicecacheError: If a member's weights do not fit the head.
    """
    folder = Path(folder)
    _check_states(bundle, str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{member.name}/{name}": value.contiguous()
        for member, state in zip(bundle.card.members, bundle.states, strict=True)
        for name, value in state.items()
    }
    weights = save(tensors, metadata={"format": "slicecache-bundle"})
    card = bundle.card.model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    (folder / CARD_FILE).unlink(missing_ok=True)
    _replace(folder / WEIGHTS_FILE, weights)
    _replace(folder / CARD_FILE, card.model_dump_json(indent=1).encode())


def load_bundle(folder: str | Path, custom: Any = None, allow_custom: bool = False) -> Bundle:
    """Read a bundle and check that it is whole.

    Args:
        folder: Holds both files.
        custom: The class (or function) of a custom head, which is then used for what the card names.
        allow_custom: Import what the card names.

    Raises:
        SlicecacheError: If a file is missing, unreadable or not the one that the card was written for, or
            if its head is custom and neither given nor allowed.
    """
    folder = Path(folder)
    card = _with_custom(_read_card(folder), custom, allow_custom)
    try:
        weights = (folder / WEIGHTS_FILE).read_bytes()
        if hashlib.sha256(weights).hexdigest() != card.weights_sha256:
            raise SlicecacheError(
                f"{folder / WEIGHTS_FILE} is not the file that {CARD_FILE} was written for (its SHA-256 "
                "differs); copy the bundle again"
            )
        tensors = load(weights)
    except (OSError, SafetensorError) as error:
        raise SlicecacheError(f"the weights of the bundle {folder} cannot be read: {error}") from error
    bundle = Bundle(card, tuple(_state(tensors, member.name) for member in card.members))
    _check_states(bundle, str(folder))
    return bundle


def _with_custom(card: BundleCard, custom: Any, allow_custom: bool) -> BundleCard:
    """The card with its custom head given or permitted, if it has one."""
    if not isinstance(card.head, CustomHeadSpec):
        return card
    if custom is not None:
        head = card.head.model_copy(update={"target": give(custom)})
        return card.model_copy(update={"head": head})
    if allow_custom:
        permit(card.head.target)
    return card


def _read_card(folder: Path) -> BundleCard:
    """Read and validate `bundle.json`."""
    path = folder / CARD_FILE
    try:
        return BundleCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SlicecacheError(
            f"{folder} is not a bundle: {CARD_FILE} cannot be read ({error.strerror})"
        ) from error
    except ValidationError as error:
        raise SlicecacheError(f"{path} is not a bundle of this version: {refusal(error, 'it')}") from error


def _state(tensors: dict[str, Tensor], member: str) -> dict[str, Tensor]:
    """One member's parameters by their own names."""
    return {
        name.removeprefix(f"{member}/"): value
        for name, value in tensors.items()
        if name.startswith(f"{member}/")
    }


def _check_states(bundle: Bundle, where: str) -> None:
    """Refuse weights that do not fit the head.

    Raises:
        SlicecacheError: Naming the first member and the parameters in question.
    """
    if len(bundle.states) != len(bundle.card.members):
        raise SlicecacheError(
            f"the bundle {where} names {len(bundle.card.members)} members and has weights of "
            f"{len(bundle.states)}"
        )
    shapes = bundle.head().shapes
    for member, state in zip(bundle.card.members, bundle.states, strict=True):
        found = {name: tuple(value.shape) for name, value in state.items()}
        wrong = sorted(name for name in shapes | found if shapes.get(name) != found.get(name))
        if wrong:
            raise SlicecacheError(
                f"member {member.name!r} of the bundle {where} does not fit its head in {', '.join(wrong)}"
            )


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that nobody sees half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)
