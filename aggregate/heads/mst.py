"""The Medical Slice Transformer's fusion: a CLS token and one transformer layer over the slices.

Theirs (arXiv 2411.15802 and its code): a learned CLS token, one pre-norm layer of 12 heads, a
feed-forward part as wide as a token with ReLU, no dropout, a final LayerNorm, and the CLS token into a
linear classifier; positions none, `Embedding(256, d)` by slice, or rotary with theta 256. They fine-tune
the backbone as well, so their headline results are not to be expected of frozen tokens.

Ours, where the paper and its code leave room or we differ: positions are added to slices only, not to
the CLS token; rotary positions count slices from 1 and the CLS token is 0, and pairs of neighbouring
numbers turn together; `sinusoidal` is by height in mm. The key's bias is there with rotary positions
only, since it has no effect otherwise. Linear layers begin as `torch.nn.Linear` does, tokens normal with
a standard deviation of 0.02.

Only the CLS token's output is used, so no layer is ever applied to a slice: see `heads/cls_row.py`.
"""

from typing import ClassVar, Literal, Self, get_args

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveInt
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.cls_row import ClsRow, learned_row, plain_row, rotary_row
from aggregate.heads.embedding import Shapes, linear_shapes
from aggregate.heads.norm import BagsAndCls, affine, layer_norm, norm_shapes, standardised
from aggregate.heads.positions import sinusoids, turned_back
from aggregate.heads.stacked_linear import StackedLinear, stacked_linear
from cache_schema.common.errors import ConfigError, SlicecacheError

LEARNED_POSITIONS = 256
"""Slices that learned positions know, as published."""


Positions = Literal["none", "learned", "sinusoidal", "rotary"]


class MstSpec(HeadBase):
    """The Medical Slice Transformer's fusion: a CLS token and one transformer layer over the slices."""

    learns_by_heart: ClassVar[bool] = True
    words: ClassVar[str] = "MST fusion"
    kind: Literal["mst"] = "mst"
    heads: PositiveInt = 12
    """Attention heads; they must divide the numbers of a token."""
    positions: Positions = "none"
    """`none` as published, so that the order of slices has no effect; `learned` and `rotary` go by a
    slice's index in its bag, `sinusoidal` by its height in mm."""
    centre: Literal[False] = False
    """Its LayerNorm does that work."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """One for each kind of positions."""
        kinds: tuple[Positions, ...] = get_args(Positions)
        return tuple(cls(heads=2, positions=kind, embedding=(6,)[: kind == "none"]) for kind in kinds)

    def build(self, dim: int, n_classes: int) -> "MstHead":
        """Make the head for tokens of this dimension."""
        return MstHead(self, dim, n_classes)


class MstHead(Head):
    """One transformer layer, of which the CLS token's output is computed and nothing else."""

    def __init__(self, spec: MstSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes.

        Raises:
            ConfigError: If the heads do not divide a token's numbers, or leave an odd width to rotate.
        """
        super().__init__(spec, dim, n_classes)
        self.heads, self.positions = spec.heads, spec.positions
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
    def slice_width(self) -> int:
        """A score of each head, its weight and its gradient."""
        return 3 * self.heads

    def pool_shapes(self) -> Shapes:
        """The layer by the names of its parts; `mst.token.cls` is the CLS token."""
        dim = self.dim
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
            started[name] = torch.eye(self.dim, dtype=drawn.dtype).expand_as(drawn).clone()
        return {**parameters, **started}

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
