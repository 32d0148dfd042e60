"""Mean pooling + logistic regression of every fold in a bundle: what its members are compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from aggregate.common.arrays import Floats
from aggregate.targets.base import LearntTask
from aggregate.training.solving.logistic import Solution
from cache_schema.common.errors import SlicecacheError

MEAN_POOLING = "mean_pool_logistic"
"""Below it lie, by fold, the parts of its solutions; they saw whom the fold's members saw."""
PARTS = ("mean", "sd", "weight", "bias")


def mean_pooling_tensors(solutions: Sequence[Solution]) -> dict[str, Tensor]:
    """Tensors of a bundle: `<number>/<part>`."""
    return {
        f"{number}/{part}": torch.from_numpy(np.array(getattr(found, part), dtype=np.float64))
        for number, found in enumerate(solutions)
        for part in PARTS
    }


def read_mean_pooling(
    tensors: Mapping[str, Tensor], count: int, dim: int, n_classes: int, where: str
) -> tuple[Solution, ...]:
    """Solutions from a bundle, which may come from anybody.

    Args:
        tensors: As `mean_pooling_tensors` made them.
        count: How many the card says.
        dim: Numbers of a token.
        n_classes: Of the bundle.
        where: The bundle.

    Raises:
        SlicecacheError: If a part is missing, or of another shape.
    """
    return read_solutions(tensors, [dim] * count, n_classes, where, MEAN_POOLING)


def read_solutions(
    tensors: Mapping[str, Tensor], widths: Sequence[int], n_outputs: int, where: str, what: str
) -> tuple[Solution, ...]:
    """Solutions on so many columns each, by number.

    Raises:
        SlicecacheError: If a part is missing, or of another shape.
    """
    found = []
    for number, width in enumerate(widths):
        shapes = {"mean": (width,), "sd": (width,), "weight": (n_outputs, width), "bias": (n_outputs,)}
        parts = {part: tensors.get(f"{number}/{part}") for part in PARTS}
        given = {part: value for part, value in parts.items() if value is not None}
        sound = all(v.dtype == torch.float64 and tuple(v.shape) == shapes[p] for p, v in given.items())
        if len(given) < len(PARTS) or not sound or not bool((given["sd"] >= 0).all()):
            raise SlicecacheError(f"the bundle {where} does not hold {what}/{number} soundly; copy it again")
        found.append(Solution(**{part: value.numpy() for part, value in given.items()}))
    return tuple(found)


def mean_pooling_said(kind: LearntTask, solutions: Sequence[Solution], x: Floats) -> Floats:
    """The mean over folds of what they say: of classes log-probabilities (bag, class).

    Args:
        kind: Of target.
        solutions: Of every fold.
        x: Mean tokens (bag, dim).
    """
    return mean_said(kind, solutions, [x] * len(solutions))


def mean_said(kind: LearntTask, solutions: Sequence[Solution], x: Sequence[Floats]) -> Floats:
    """The same where every fold has rows of its own."""
    goal, pairs = kind.goal(), zip(solutions, x, strict=True)
    return np.asarray(np.mean([kind.said(goal.says(_known(found), own)) for found, own in pairs], axis=0))


def _known(found: Solution) -> Solution:
    """A column that never varied in training has weight 0, whatever a bundle says."""
    return replace(found, weight=np.where(found.sd > 0, found.weight, 0.0))
