"""Attention: how much of the pooled vector a slice is. It says where a head reads, and not what for."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from aggregate.common.arrays import Floats
from aggregate.explain.methods.base import MethodBase
from aggregate.explain.view import View
from aggregate.targets.question import Question


class AttentionMap(MethodBase):
    """The head's own attention over slices."""

    signed: ClassVar[bool] = False
    kind: Literal["attention"] = "attention"

    @property
    def words(self) -> str:
        """As it is called everywhere."""
        return "attention"

    def reason(self, view: View) -> str:
        """Some heads have none, and some weigh all slices alike."""
        attention = view.said().attention[0][view.keep]
        if not bool(attention.isfinite().all()):
            return "the head gives no attention over slices"
        even = (1 / view.keep.sum(1, keepdim=True)).expand(view.keep.shape)[view.keep]
        return "the head weighs all slices alike" if bool((attention / even - 1).abs().max() < 1e-6) else ""

    def evidence(self, view: View, questions: Sequence[Question]) -> Floats:
        """The same for every question."""
        own = view.said().attention[0].double().numpy()
        return np.repeat(own[None], len(questions), axis=0)
