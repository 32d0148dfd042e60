"""What is left of the score as slices go, those first that a map puts first; and as they come."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.common.arrays import Floats, Ints
from aggregate.explain.methods.base import scored
from aggregate.explain.view import View
from aggregate.targets.question import Question

SHARES: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""Of the kept slices: taken away in deletion, or all there is in insertion. Beyond a half it is chance which
few slices are left to decide."""
Way = Literal["deletion", "insertion"]
WAYS: tuple[Way, ...] = ("deletion", "insertion")


def places(evidence: Floats, keep: NDArray[np.bool_], generator: np.random.Generator) -> Ints:
    """Each slice's place from the highest evidence down (..., bag, slice); equal ones are drawn.

    Args:
        evidence: (..., bag, slice); NaN counts as the least.
        keep: True on real slices (bag, slice); pads come last.
        generator: Of draws among equals.
    """
    known = np.where(np.isfinite(evidence), evidence, -np.inf)
    apart = np.broadcast_to(generator.random(keep.shape), known.shape)
    order = np.lexsort((apart, -known, np.broadcast_to(~keep, known.shape)), axis=-1)
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.broadcast_to(np.arange(keep.shape[1]), order.shape), axis=-1)
    return found


def curves(view: View, place: Ints, questions: Sequence[Question], way: Way, one_map: bool) -> Floats:
    """The score of each question as its map takes or gives slices (question, bag, share).

    At least one slice is left, and at least one is given.

    Args:
        view: Of the bags.
        place: As `places` gives it (question, bag, slice).
        questions: What is scored.
        way: Whether slices go or come.
        one_map: All questions have the same map.
    """
    found = np.empty((len(questions), len(view.keep), len(SHARES)))
    number = view.keep.sum(1).numpy()
    count = np.rint(np.multiply.outer(SHARES, number))[:, :, None]
    for asked in range(1 if one_map else len(questions)):
        if way == "deletion":
            left = place[asked] >= np.minimum(count, number[:, None] - 1)
        else:
            left = place[asked] < np.maximum(count, 1)
        rows = slice(None) if one_map else slice(asked, asked + 1)
        outputs = view.variants(view.keep & torch.from_numpy(left))
        found[rows] = scored(outputs, questions[rows]).transpose(0, 2, 1)
    return found


def area(curve: Floats) -> Floats:
    """The mean height of a curve over the shares (...): the trapezoids, over the width (..., share)."""
    return np.asarray(np.trapezoid(curve, SHARES, axis=-1) / (SHARES[-1] - SHARES[0]))
