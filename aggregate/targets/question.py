"""What slices can be evidence of: a class against the others, or a higher number."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aggregate.common.arrays import Floats


@dataclass(frozen=True, slots=True)
class Question:
    """One score of a bag, and what is true of it."""

    name: str
    """What a high score speaks for."""
    weights: Floats
    """The score is this sum of a head's outputs (output,)."""
    truth: Floats
    """1 or 0 for in the class or not, or a number that is to rise with the score (bag,)."""
    of: Literal["class", "number"]


def class_questions(classes: tuple[str, ...], y: Floats) -> tuple[Question, ...]:
    """Of two classes the positive one, of more each: its logit less the mean of the others'.

    Args:
        classes: In the order of the logits.
        y: Class index (bag,).
    """
    n = len(classes)
    asked = range(n) if n > 2 else (1,)
    weights = (np.eye(n) * n - 1) / (n - 1)
    return tuple(
        Question(classes[place], weights[place], (y == place).astype(np.float64), "class") for place in asked
    )
