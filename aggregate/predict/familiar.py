"""What a bundle keeps of its training cohort, to know what it does not know; of nobody the tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from aggregate.common.arrays import Floats, Ints
from aggregate.predict.acquired import Acquired
from aggregate.predict.bundle_files import tensors_below
from aggregate.predict.familiarity import Reference, read_references, reference_tensors
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import Strict

SCORES = "scores"
"""Below it, by member, the scores of the participants that it left out."""


class FamiliarCard(Strict):
    """The part in words and small numbers."""

    participants: tuple[str, ...]
    """Of the training."""
    hands: tuple[Annotated[int, Field(ge=0, lt=64)], ...] = ()
    """Of each of them; empty where they are too few for any to be flagged."""
    acquired: Acquired

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(set(self.participants)) < len(self.participants):
            raise ValueError("a participant stands twice in it")
        if self.hands and len(self.hands) != len(self.participants):
            raise ValueError(f"{len(self.hands)} hands are not one for each of {len(self.participants)}")
        if self.hands and sorted(set(self.hands)) != list(range(max(self.hands) + 1)):
            raise ValueError("hands count from 0, and none is empty")
        return self


@dataclass(frozen=True, slots=True)
class Familiar:
    """The training cohort, as far as it is kept."""

    card: FamiliarCard
    references: tuple[Reference, ...]
    """By hand; none where participants are too few."""
    scores: dict[str, Floats]
    """By member, ascending: of the participants that it left out, one volume each."""

    @property
    def hand(self) -> dict[str, int]:
        """By participant; -1 where there are no hands."""
        hands = self.card.hands or [-1] * len(self.card.participants)
        return dict(zip(self.card.participants, hands, strict=True))

    def tensors(self) -> dict[str, Tensor]:
        """As a bundle stores them."""
        scores = {f"{SCORES}/{name}": torch.from_numpy(values) for name, values in self.scores.items()}
        return {**reference_tensors(self.references), **scores}


def read_familiar(
    card: FamiliarCard, tensors: Mapping[str, Tensor], members: frozenset[str], dim: int, where: str
) -> Familiar:
    """Of a bundle, which may come from anybody.

    Args:
        card: Of the bundle.
        tensors: As `Familiar.tensors` made them.
        members: Names of the bundle's members.
        dim: Numbers of a token.
        where: The bundle.

    Raises:
        SlicecacheError: If numbers are missing, or cannot be what they should be.
    """
    hands: Ints = np.array(card.hands, dtype=np.int64)
    references = read_references(tensors, hands, 2 * dim, where) if len(hands) else ()
    scores = tensors_below(dict(tensors), SCORES)
    wrong = [n for n, v in scores.items() if n not in members or v.ndim != 1 or v.dtype != torch.float64]
    if wrong:
        raise SlicecacheError(
            f"the bundle {where} has out-of-fold scores under {wrong[0]!r:.80}, which are none of a member; "
            "copy it again"
        )
    return Familiar(card, references, {name: np.sort(value.numpy()) for name, value in scores.items()})
