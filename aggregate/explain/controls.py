"""Maps that know nothing of the volume in question: what a method must beat to be believed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregate.bags.bags import Bags
from aggregate.common.arrays import Floats, Ints
from aggregate.heads.centre_gaussian import off_centre

CENTRE, RANDOM, OTHER = "centre_gaussian", "random_head", "another_participant"
CONTROLS = {
    CENTRE: "the centre-Gaussian",
    RANDOM: "a random head's map",
    OTHER: "another participant's map",
}
SIGMA = 0.2
"""Of the Gaussian, as a share of the kept extent: head `centre_gaussian`'s own."""


def centre_map(bags: Bags) -> Floats:
    """A Gaussian around the middle of each bag's extent (bag, slice)."""
    place = off_centre(bags.height_mm.double(), bags.keep).numpy() / SIGMA
    return np.exp(-0.5 * place**2)


def donors(participants: Sequence[str], rows: Ints, seed: int) -> dict[int, int]:
    """For each of some bags one of another participant's; nothing where there is nobody else.

    Args:
        participants: Of every bag of the cohort.
        rows: Bags that have a map.
        seed: Of the order in which participants hand their maps on.
    """
    names = sorted({participants[row] for row in rows.tolist()})
    if len(names) < 2:
        return {}
    generator = np.random.Generator(np.random.PCG64(seed))
    order = generator.permutation(len(names))
    after = {names[place]: names[order[(at + 1) % len(order)]] for at, place in enumerate(order)}
    first: dict[str, int] = {}
    for row in rows.tolist():
        first.setdefault(participants[row], row)
    return {row: first[after[participants[row]]] for row in rows.tolist()}


def handed_on(
    evidence: Floats, height_mm: Floats, keep: NDArray[np.bool_], to_mm: Floats, to_keep: NDArray[np.bool_]
) -> Floats:
    """One bag's map at the heights of another (question, slice): a straight line between its slices.

    Args:
        evidence: Of the one (question, slice).
        height_mm: Of its slices.
        keep: Its real slices.
        to_mm: Heights of the other's slices.
        to_keep: Its real slices.
    """
    order = np.argsort(height_mm[keep], kind="stable")
    height, own = height_mm[keep][order], evidence[:, keep][:, order]
    found = np.zeros((len(evidence), len(to_mm)))
    found[:, to_keep] = np.stack([np.interp(to_mm[to_keep], height, one) for one in own])
    return found
