"""Attention fixed around the middle of the slices' extent: a control that never looks at an image.

A head whose attention finds no more than this one has not localised anything (arXiv 2605.27306 finds
such a prior ahead of attention MIL at finding slices).
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.embedding import Shapes
from aggregate.heads.products import weigh


class CentreGaussianSpec(HeadBase):
    """Control: attention fixed around the middle of the slices, whatever they show."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "centre Gaussian (control)"
    kind: Literal["centre_gaussian"] = "centre_gaussian"
    sigma: float = Field(default=0.2, ge=0.05)
    """Standard deviation as a share of the height between a bag's first and last slice."""

    def build(self, dim: int, n_classes: int) -> "CentreGaussianHead":
        """Make the head for tokens of this dimension."""
        return CentreGaussianHead(self, dim, n_classes)


class CentreGaussianHead(Head):
    """`a_i ~ exp(-z_i^2 / (2 sigma^2))`, with z_i the distance from the middle as a share of the extent."""

    def __init__(self, spec: CentreGaussianSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.sigma = spec.sigma

    @property
    def attends_by_content(self) -> bool:
        """Attention is by height alone."""
        return False

    def pool_shapes(self) -> Shapes:
        """The pool has no parameter."""
        return {}

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """The fixed attention and the mean by it, once for all runs."""
        place = off_centre(height_mm.to(parameters["classifier.weight"].dtype), keep) / self.sigma
        scores = (-0.5 * place.square()).masked_fill(~keep, -torch.inf)
        attention = scores.softmax(-1).unsqueeze(0)
        return weigh(attention, x), attention


def off_centre(
    height_mm: Float[Tensor, "bag slice"], keep: Bool[Tensor, "bag slice"]
) -> Float[Tensor, "bag slice"]:
    """Distance from the middle of the kept slices' extent, in extents: -0.5 to 0.5; 0 without an extent."""
    top = height_mm.masked_fill(~keep, torch.inf).amin(-1, keepdim=True)
    bottom = height_mm.masked_fill(~keep, -torch.inf).amax(-1, keepdim=True)
    extent = bottom - top
    distance = (height_mm - (top + bottom) / 2) / torch.where(extent > 0, extent, 1)
    return distance.masked_fill(~keep, 0)
