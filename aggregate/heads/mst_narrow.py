"""The Medical Slice Transformer's fusion behind a bottleneck: every run's slices are its own.

A linear layer takes a token down to a part of its numbers, and the transformer layer works on those. The
paper's code has a quarter; where the layer stands and that nothing else comes with it is our reading. So
nothing of a slice is shared by the runs, and the CLS token's row is worked out as it is written.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Parameters
from aggregate.heads.cls_row import ClsRow, own_row
from aggregate.heads.embedding import Shapes, linear_shapes
from aggregate.heads.mst_layer import MstHead
from aggregate.heads.norm import standardised
from aggregate.heads.positions import sinusoids, turned_back
from aggregate.heads.stacked_linear import stacked_linear


class NarrowMstHead(MstHead):
    """`MstHead` on `W x + b`."""

    @property
    def slice_width(self) -> int:
        """Beside the scores a slice's own numbers, before and after its LayerNorm."""
        return 3 * self.heads + 4 * self.inner

    def pool_shapes(self) -> Shapes:
        """The bottleneck before the layer."""
        return linear_shapes("mst.narrow", self.dim, self.inner) | super().pool_shapes()

    def prepare(
        self,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> Float[Tensor, "bag slice dim"]:
        """Tokens as they are: everything begins with a parameter."""
        return x

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag pooled"], Float[Tensor, "#run bag slice"]]:
        """As `MstHead.pool`, of every run's own narrow slices (run, bag, slice, inner)."""
        runs = len(parameters["mst.narrow.bias"])
        flat = x.flatten(0, 1).expand(runs, -1, -1)
        narrow = stacked_linear(parameters, "mst.narrow", flat).unflatten(1, x.shape[:2])
        if self.positions == "learned":
            narrow = narrow + self._positions(parameters, x.shape[1]).unsqueeze(1)
        if self.positions == "sinusoidal":
            narrow = narrow + sinusoids(height_mm.to(narrow.dtype), self.inner)
        return super().pool(parameters, standardised(narrow), keep, height_mm)

    def _row(
        self,
        parameters: Parameters,
        cls: Float[Tensor, "run dim"],
        x: Float[Tensor, "run bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
    ) -> tuple[ClsRow, Float[Tensor, "run head"]]:
        """Scores of each run's own slices."""
        query = self._query(parameters, cls)
        places = query.unsqueeze(2)
        if self.positions == "rotary":
            places = turned_back(query, 1 + x.shape[2])
        keys, constant = self._keys(parameters, places), 0 * places[..., 0]
        if self.positions == "rotary":
            constant = self._constant(parameters, places)
        own = torch.einsum("rhd,rd->rh", keys[:, :, 0], cls) + constant[:, :, 0]
        first = 1 if self.positions == "rotary" else 0
        return own_row(keys[:, :, first:], constant[:, :, first:], x, keep), own
