"""What a bundle's members say of bags, and how much these look like the training's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from aggregate.bags.bags import Bags
from aggregate.bags.moved import move_bags
from aggregate.common.arrays import Floats
from aggregate.predict.bundle import Bundle, BundleCard
from aggregate.predict.familiar import Familiar
from aggregate.predict.familiarity import Familiarity, described, familiarity, own_familiarity
from aggregate.training.stacked import apply_to_views
from cache_schema.format.header import Header

BLOCK = 256
"""Bags scored at once."""


@dataclass(frozen=True, slots=True)
class Said:
    """Of bags, in their order."""

    logits: Floats
    """Of every member (member, bag, class), or what else the kind of target has of a bag."""
    familiarity: Familiarity | None
    """None where the bundle keeps nothing to hold a bag against."""


def say(
    bundle: Bundle,
    bags: Bags,
    header: Header,
    participants: Sequence[str],
    strangers: bool = False,
    people: pd.DataFrame | None = None,
) -> Said:
    """Apply all members to bags, some at a time.

    Args:
        bundle: Of these tokens.
        bags: To score; their tokens may lie in the store.
        header: Of that store.
        participants: Of every bag.
        strangers: Nobody of them is of the training, whatever they are called.
        people: Of every bag, what a bundle that harmonises has to know, as `Harmonised.known` gives it.
    """
    every = np.arange(len(bags))
    logits, found = [], []
    for start in range(0, len(bags), BLOCK):
        block = _rounded(bags.take(every[start : start + BLOCK]), bundle, header)
        own = None if people is None else people.iloc[start : start + BLOCK]
        outputs = _outputs(bundle, block, own)
        logits.append(np.stack([bundle.card.kind.said(output) for output in outputs]))
        if bundle.familiar is not None and bundle.familiar.references:
            names = participants[start : start + BLOCK]
            found.append(_held_against(bundle.familiar, block, names, strangers))
    return Said(np.concatenate(logits, axis=1), joined(found))


def _outputs(bundle: Bundle, bags: Bags, people: pd.DataFrame | None) -> list[Floats]:
    """What every member's head gives of bags (bag, output), on tokens as its fold harmonises them."""
    head = bundle.head()
    if bundle.harmonised is None or people is None:
        return list(apply_to_views(head, bundle.states, bags).logits.double().numpy())
    found: dict[int, Floats] = {}
    moves = bundle.harmonised.moves(people)
    for (scale, shift), places in zip(moves, bundle.card.folds.values(), strict=True):
        moved = move_bags(bags, scale, shift)
        own = apply_to_views(head, [bundle.states[place] for place in places], moved).logits
        found |= dict(zip(places, own.double().numpy(), strict=True))
    return [found[place] for place in range(len(bundle.states))]


def joined(parts: Sequence[Familiarity]) -> Familiarity | None:
    """Blocks one behind the other; None of none."""
    if not parts:
        return None
    return Familiarity(
        np.concatenate([part.distance for part in parts]), np.concatenate([part.p for part in parts])
    )


def _held_against(
    familiar: Familiar, bags: Bags, participants: Sequence[str], strangers: bool
) -> Familiarity:
    """The training's own against what left them out, everybody else against all."""
    hand = {} if strangers else familiar.hand
    x, own = described(bags), np.array([hand.get(name, -1) for name in participants], dtype=np.int64)
    distance, p = np.zeros(len(own)), np.zeros(len(own))
    for rows, found in (
        (own < 0, familiarity(familiar.references, x[own < 0])),
        (own >= 0, own_familiarity(familiar.references, x[own >= 0], own[own >= 0])),
    ):
        distance[rows], p[rows] = found.distance, found.p
    return Familiarity(distance, p)


def _rounded(bags: Bags, bundle: Bundle, header: Header) -> Bags:
    """Round tokens through the storage dtype that the bundle was trained on, if the store's is finer."""
    if bundle.card.numerics.storage_dtype == "float32" or header.numerics.storage_dtype == "float16":
        return bags
    views = tuple(_rounded(view, bundle, header) for view in bags.views)
    return replace(bags, x=bags.x.to(torch.float16).to(bags.x.dtype), views=views)


def tempered(card: BundleCard, used: Sequence[int], logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the members used of their logits, each over its own temperature: (..., class).

    Args:
        card: Of the bundle.
        used: Members.
        logits: Theirs (member, ..., class).
    """
    each = np.array([card.members[i].temperature for i in used])
    return np.asarray((logits / each.reshape(-1, *[1] * (logits.ndim - 1))).mean(0))


def frozen_threshold(card: BundleCard, used: Sequence[int]) -> float:
    """The mean of the thresholds of the members used."""
    return float(np.mean([card.members[i].threshold for i in used]))
