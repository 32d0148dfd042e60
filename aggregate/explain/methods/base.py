"""What a method is: from a member's view of bags to how much each slice speaks for something."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from aggregate.common.arrays import Floats
from aggregate.explain.view import View
from aggregate.targets.question import Question
from cache_schema.common.strict import Strict


class MethodBase(Strict, ABC):
    """A method, as `--method` says it."""

    signed: ClassVar[bool] = True
    """Whether evidence may speak against; what has no sign is one map for all questions."""
    needs_typical: ClassVar[bool] = False
    """Whether it compares with the typical slice of a height."""
    kind: str = ""

    @property
    def name(self) -> str:
        """Its column, and what tables call it."""
        return self.kind

    @property
    @abstractmethod
    def words(self) -> str:
        """What a report calls it."""

    def reason(self, view: View) -> str:
        """Why it says nothing of such a head; empty where it does."""
        return ""

    @abstractmethod
    def evidence(self, view: View, questions: Sequence[Question]) -> Floats:
        """How much each slice speaks for each question (question, bag, slice); pads are of no account."""


def scored(outputs: Any, questions: Sequence[Question]) -> Floats:
    """Scores of every question (question, ...) from outputs (..., output)."""
    weights = np.stack([question.weights for question in questions])
    return np.asarray(np.moveaxis(torch.as_tensor(outputs).double().numpy() @ weights.T, -1, 0))
