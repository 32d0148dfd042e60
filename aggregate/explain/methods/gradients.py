"""Integrated gradients on tokens (Sundararajan et al. 2017, arXiv 1703.01365), by captum.

Tokens go in a straight line from the typical slice of their height to what they are. The gradient of the
score along the way, times the way, adds up to the change of the score: of all slices together that is the
score less that of a bag of typical slices.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from aggregate.common.arrays import Floats
from aggregate.explain.methods.base import MethodBase
from aggregate.explain.view import View
from aggregate.targets.question import Question

TOKENS_AT_ONCE = 2**22
"""Numbers of tokens that gradients are taken of together: bounds the memory."""


class TokenGradients(MethodBase):
    """Integrated gradients, added up over the numbers of a slice's token."""

    needs_typical: ClassVar[bool] = True
    kind: Literal["gradients"] = "gradients"
    steps: int = Field(default=16, ge=1, le=1000)
    """Points of the Gauss-Legendre sum along the way."""

    @property
    def words(self) -> str:
        """As it is called everywhere."""
        return "integrated gradients"

    def reason(self, view: View) -> str:
        """It needs captum, and a head that torch can differentiate."""
        try:
            import captum  # noqa: F401
        except ModuleNotFoundError:
            return "captum is not installed: pip install 'slicecache[explain]'"
        try:
            x = view.x[:1].clone().requires_grad_()
            with torch.enable_grad():
                said = view.head(view.parameters, x, view.keep[:1], view.bags.height_mm[:1]).logits
            torch.autograd.grad(said.sum(), x)
        except RuntimeError as error:
            return f"torch cannot differentiate the head by its tokens ({str(error).splitlines()[0]:.80})"
        return ""

    def evidence(self, view: View, questions: Sequence[Question]) -> Floats:
        """Of each question in turn."""
        from captum.attr import IntegratedGradients

        if view.typical is None:
            raise ValueError("the view has no typical slices")
        bags, weights = view.bags, [torch.from_numpy(question.weights) for question in questions]
        x = view.x.masked_fill(~bags.keep.unsqueeze(2), 0)
        start = view.typical.masked_fill(~bags.keep.unsqueeze(2), 0)
        found = []
        for weight in weights:

            def score(tokens: Tensor, keep: Tensor, height: Tensor, weight: Tensor = weight) -> Tensor:
                said = view.head(view.parameters, tokens, keep, height).logits[0]
                return said @ weight.to(said.dtype)

            by_number = IntegratedGradients(score).attribute(
                x,
                baselines=start,
                additional_forward_args=(bags.keep, bags.height_mm),
                n_steps=self.steps,
                method="gausslegendre",
                internal_batch_size=max(len(x), TOKENS_AT_ONCE // (x.shape[1] * x.shape[2])),
            )
            found.append(by_number.sum(2).detach().double().numpy())
        return np.stack(found)
