"""The layer of the Medical Slice Transformer's fusion: what `heads/mst.py` describes, computed.

Only the CLS token's output is used, so no layer is ever applied to a slice: see `heads/cls_row.py`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.cls_row import ClsRow, learned_row, plain_row, rotary_row
from aggregate.heads.embedding import Shapes, linear_shapes
from aggregate.heads.initial import TOKEN_STD
from aggregate.heads.norm import BagsAndCls, affine, layer_norm, norm_shapes, standardised
from aggregate.heads.positions import sinusoids, turned_back
from aggregate.heads.stacked_linear import StackedLinear, stacked_linear
from cache_schema.common.errors import ConfigError, SlicecacheError

LEARNED_POSITIONS = 256
"""Slices that learned positions know, as published."""

Positions = Literal["none", "learned", "sinusoidal", "rotary"]
Draw = Literal["ours", "as_released"]


@dataclass(frozen=True, slots=True)
class MstOptions:
    """What a file says of the layer, as `MstSpec` has it."""

    heads: int
    positions: Positions
    draw: Draw
    bottleneck: int


class MstHead(Head):
    """One transformer layer, of which the CLS token's output is computed and nothing else."""

    def __init__(self, spec: HeadBase, dim: int, n_classes: int, options: MstOptions) -> None:
        """Fix the shapes.

        Raises:
            ConfigError: If the heads do not divide a token's numbers, or leave an odd width to rotate.
        """
        super().__init__(spec, dim, n_classes)
        self.heads, self.positions, self.draw = options.heads, options.positions, options.draw
        self.inner = dim = dim // options.bottleneck
        """Numbers of a token inside the layer."""
        if not dim:
            raise ConfigError(
                f"head mst: bottleneck is {options.bottleneck}, but a token has {self.dim} numbers; lower it"
            )
        if dim % self.heads:
            fitting = [n for n in range(1, dim + 1) if dim % n == 0]
            nearest = min(fitting, key=lambda n: abs(n - self.heads))
            raise ConfigError(
                f"head mst: heads is {self.heads}, which does not divide the {dim} numbers of a token; "
                f"set heads: {nearest}"
            )
        self.width = dim // self.heads
        if self.positions == "rotary" and self.width % 2:
            raise ConfigError(
                f"head mst: rotary positions turn pairs, but {self.heads} heads of {dim} numbers have "
                f"{self.width} each; choose heads that leave an even number"
            )

    @property
    def permutation_invariant(self) -> bool:
        """Unless positions go by a slice's index."""
        return self.positions in ("none", "sinusoidal")

    @property
    def attends_by_content(self) -> bool:
        """Unless there are positions."""
        return self.positions == "none"

    @property
    def pooled_dim(self) -> int:
        """The CLS token's numbers."""
        return self.inner

    @property
    def slice_width(self) -> int:
        """A score of each head, its weight and its gradient."""
        return 3 * self.heads

    def pool_shapes(self) -> Shapes:
        """The layer by the names of its parts; `mst.token.cls` is the CLS token."""
        dim = self.inner
        shapes: Shapes = {"mst.token.cls": (dim,)}
        if self.positions == "learned":
            shapes["mst.token.positions"] = (LEARNED_POSITIONS, dim)
        shapes |= norm_shapes("mst.norm_attention", dim) | linear_shapes("mst.query", dim, dim)
        shapes["mst.key.weight"] = (dim, dim)
        if self.positions == "rotary":
            shapes["mst.key.bias"] = (dim,)
        for name in ("mst.value", "mst.output"):
            shapes |= linear_shapes(name, dim, dim)
        shapes |= norm_shapes("mst.norm_feed", dim)
        for name in ("mst.feed.0", "mst.feed.1"):
            shapes |= linear_shapes(name, dim, dim)
        return shapes | norm_shapes("mst.norm_final", dim)

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """The CLS token asks for nothing in particular, and the layer hands on what it reads.

        Scores are 0, values and output the identity, and the feed-forward part adds nothing yet.
        """
        biases = ("mst.query.bias", "mst.value.bias", "mst.output.bias", "mst.feed.1.bias")
        nothing = (*biases, "mst.query.weight", "mst.feed.1.weight")
        started = {name: torch.zeros_like(parameters[name]) for name in nothing}
        for name in ("mst.value.weight", "mst.output.weight"):
            drawn = parameters[name]
            identity = torch.eye(self.inner, dtype=drawn.dtype, device=drawn.device)
            started[name] = identity.expand_as(drawn).clone()
        return {**parameters, **started}

    def _draw(self, name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
        """One parameter of one run, ours or theirs; both are of one stream."""
        drawn = super()._draw(name, shape, seed)
        part, _, kind = name.rpartition(".")
        if self.draw == "ours":
            return drawn
        if part == "mst.token":
            return drawn / TOKEN_STD
        if part in ("mst.query", "mst.key", "mst.value"):
            # Xavier's bound is that of one layer with three outputs for each input: sqrt(6 / (d + 3 d)).
            return drawn * 1.5**0.5 if kind == "weight" else np.zeros(shape)
        return np.zeros(shape) if name == "mst.output.bias" else drawn

    def prepare(
        self,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> Float[Tensor, "bag slice dim"]:
        """The LayerNorm without its weights, which is the same for all runs.

        Sinusoids are added first; learned positions belong to a run, so for them only the mean is
        taken out.
        """
        work = x.masked_fill(~keep.unsqueeze(-1), 0)
        if self.positions == "learned":
            return work - work.mean(-1, keepdim=True)
        if self.positions == "sinusoidal":
            work = work + sinusoids(height_mm.to(work.dtype), self.dim)
        return standardised(work)

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """The CLS token after the layer and its LayerNorm, and its row of the attention.

        The row is without the CLS token's own column, renormalised, and the mean over heads.

        Raises:
            SlicecacheError: If a bag has more slices than learned positions know.
        """
        cls = standardised(parameters["mst.token.cls"])
        row, own_score = self._row(parameters, cls, x, keep)
        share = torch.sigmoid(own_score.unsqueeze(-1) - row.log_sum)
        value = self._value(parameters, row.vectors, cls, share)
        return self._layer(parameters, value), row.attention.mean(1)

    def _row(
        self,
        parameters: Parameters,
        cls: Float[Tensor, "run dim"],
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
    ) -> tuple[ClsRow, Float[Tensor, "run head"]]:
        """The slices by the CLS token's query, and the token's own score."""
        query = self._query(parameters, cls)
        if self.positions == "rotary":
            places = turned_back(query, 1 + x.shape[1])
            keys = self._keys(parameters, places)
            constant = self._constant(parameters, places)
            own = (keys[:, :, 0] @ cls.unsqueeze(2)).squeeze(2) + constant[:, :, 0]
            return rotary_row(keys[:, :, 1:], constant[:, :, 1:], x, keep), own
        keys = self._keys(parameters, query.unsqueeze(2)).squeeze(2)
        own = (keys @ cls.unsqueeze(2)).squeeze(2)
        if self.positions == "learned":
            return learned_row(keys, self._positions(parameters, x.shape[1]), x, keep), own
        return plain_row(keys, x, keep), own

    def _query(
        self, parameters: Parameters, cls: Float[Tensor, "run dim"]
    ) -> Float[Tensor, "run head width"]:
        """The CLS token's query, over the square root of a head's width."""
        token = affine(parameters, "mst.norm_attention", cls).unsqueeze(1)
        query = stacked_linear(parameters, "mst.query", token) * self.width**-0.5
        return query.view(-1, self.heads, self.width)

    def _keys(
        self, parameters: Parameters, query: Float[Tensor, "run head place width"]
    ) -> Float[Tensor, "run head place dim"]:
        """`u = g Wk^T q`, the query carried to where the slices are."""
        weight = parameters["mst.key.weight"].unflatten(1, (self.heads, self.width))
        return (query @ weight) * parameters["mst.norm_attention.weight"][:, None, None]

    def _constant(
        self, parameters: Parameters, query: Float[Tensor, "run head place width"]
    ) -> Float[Tensor, "run head place"]:
        """`q . (Wk b + bias)`, what a score has beside u . n."""
        bias = parameters["mst.norm_attention.bias"].unsqueeze(1)
        key = stacked_linear(parameters, "mst.key", bias).view(-1, self.heads, self.width, 1)
        return (query @ key).squeeze(3)

    def _positions(self, parameters: Parameters, slices: int) -> Float[Tensor, "run slice dim"]:
        """Learned positions of so many slices."""
        if slices > LEARNED_POSITIONS:
            raise SlicecacheError(
                f"head mst: learned positions know {LEARNED_POSITIONS} slices, but a bag has {slices}; set "
                "positions: none, sinusoidal or rotary, or keep fewer slices"
            )
        return parameters["mst.token.positions"][:, :slices]

    def _value(
        self,
        parameters: Parameters,
        vectors: Float[Tensor, "run head bag dim"],
        cls: Float[Tensor, "run dim"],
        share: Float[Tensor, "run head bag"],
    ) -> Float[Tensor, "run bag dim"]:
        """Values of the slices' means and of the CLS token, mixed by the token's share of the attention.

        The token stands behind the bags as one more, so that each weight is read once.
        """
        norm = "mst.norm_attention"
        given = (vectors, cls, parameters[f"{norm}.weight"], parameters[f"{norm}.bias"])
        tokens = BagsAndCls.apply(*given).flatten(0, 1)
        split = (self.heads, self.width)
        weight = parameters["mst.value.weight"].unflatten(1, split).flatten(0, 1)
        bias = parameters["mst.value.bias"].unflatten(1, split).flatten(0, 1)
        values = StackedLinear.apply(weight, bias, tokens).unflatten(0, (-1, self.heads))
        mixed = torch.lerp(values[:, :, :-1], values[:, :, -1:], share.unsqueeze(-1))
        return mixed.transpose(1, 2).flatten(2)

    def _layer(
        self, parameters: Parameters, value: Float[Tensor, "run bag dim"]
    ) -> Float[Tensor, "run bag dim"]:
        """What the layer does behind its values: output, feed-forward, LayerNorm, on one token a bag."""
        y = stacked_linear(parameters, "mst.output", value) + parameters["mst.token.cls"].unsqueeze(1)
        normed = layer_norm(parameters, "mst.norm_feed", y)
        hidden = torch.relu(stacked_linear(parameters, "mst.feed.0", normed))
        y = y + stacked_linear(parameters, "mst.feed.1", hidden)
        return layer_norm(parameters, "mst.norm_final", y)
