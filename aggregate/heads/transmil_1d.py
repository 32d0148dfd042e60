"""TransMIL along one axis: two transformer layers with a CLS token, and convolutions between for position.

Shao et al. 2021 (arXiv 2106.00908) and its code: tokens go through a linear layer with ReLU to 512 numbers; a
CLS token; a pre-norm attention layer of 8 heads without a feed-forward part; depthwise convolutions of three
widths added to the tokens, which stand in a square there; a second such layer; a LayerNorm, and the CLS
token into the classifier. Queries, keys and values have no bias.

Ours: slices stand in a row by their height, so the convolutions are 3, 5 and 7 slices wide (their three
biases are one), and attention is exact, which theirs (Nyström's) approximates for thousands of patches.
Their convolution of the values inside the attention, which mends that approximation, and their dropout are
left out. Of the second layer only the CLS token's row is used, so no slice's key or value is formed there.
"""

from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveInt, model_validator
from torch import Tensor

from aggregate.heads.base import HeadBase, Parameters
from aggregate.heads.centring import scored
from aggregate.heads.convolution import AlongSlices
from aggregate.heads.embedding import Shapes, linear_shapes
from aggregate.heads.norm import affine, layer_norm, norm_shapes, standardised
from aggregate.heads.order import Descent
from aggregate.heads.own_space import OwnSpaceHead
from aggregate.heads.stacked_linear import StackedLinear, stacked_linear

TAPS = (3, 5, 7)
"""Slices under each convolution, as wide as the published ones are."""


class Transmil1dSpec(HeadBase):
    """TransMIL over slices in order of height."""

    words: ClassVar[str] = "TransMIL (1-D)"
    kind: Literal["transmil_1d"] = "transmil_1d"
    width: PositiveInt = 512
    """Numbers that each token is brought to."""
    heads: PositiveInt = 8
    """Attention heads; they must divide the width."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        return self

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Small ones."""
        return (cls(width=8, heads=2, embedding=(6, 4)), cls(width=6, heads=1))

    def build(self, dim: int, n_classes: int) -> "Transmil1dHead":
        """Make the head for tokens of this dimension."""
        return Transmil1dHead(self, dim, n_classes)


class Transmil1dHead(OwnSpaceHead):
    """The CLS token behind two layers."""

    def __init__(self, spec: Transmil1dSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.width, self.heads = spec.width, spec.heads

    @property
    def attends_by_content(self) -> bool:
        """The convolutions know where a slice lies."""
        return False

    @property
    def pooled_dim(self) -> int:
        """The CLS token's numbers."""
        return self.width

    @property
    def slice_width(self) -> int:
        """Measured: what both layers keep of a token, and their gradients."""
        return 16 * self.width

    def pool_shapes(self) -> Shapes:
        """Both layers by the names of their parts; `transmil.token.cls` is the CLS token."""
        width = self.width
        shapes = linear_shapes("transmil.feature", self.dim, width) | {"transmil.token.cls": (width,)}
        shapes |= norm_shapes("transmil.norm_first", width)
        shapes |= {"transmil.first.qkv.weight": (3 * width, width)}
        shapes |= linear_shapes("transmil.first.output", width, width)
        shapes |= {f"transmil.across_{taps}.weight": (width, taps) for taps in TAPS}
        shapes |= {f"transmil.across_{TAPS[-1]}.bias": (width,)}
        shapes |= norm_shapes("transmil.norm_second", width)
        shapes |= {f"transmil.second.{name}.weight": (width, width) for name in ("query", "key", "value")}
        shapes |= linear_shapes("transmil.second.output", width, width)
        return shapes | norm_shapes("transmil.norm_final", width)

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """The CLS token asks for nothing in particular in the second layer."""
        name = "transmil.second.query.weight"
        return {**parameters, name: torch.zeros_like(parameters[name])}

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag width"], Float[Tensor, "#run bag slice"]]:
        """The CLS token, and its row of the second layer's attention.

        The row is without the CLS token's own column, renormalised, and the mean over heads.
        """
        order = Descent.of(keep, height_mm)
        given = (parameters["transmil.feature.weight"], parameters["transmil.feature.bias"], order.sorted(x))
        weight, bias, tokens = scored(parameters, *given)
        runs = len(weight)
        features = StackedLinear.apply(weight, bias, tokens.flatten(0, 1).expand(runs, -1, -1)).relu()
        cls = parameters["transmil.token.cls"][:, None, None].expand(-1, len(x), 1, -1)
        tokens = torch.cat([cls, features.view(runs, *keep.shape, -1)], 2)
        real = order.sorted(keep.unsqueeze(-1)).squeeze(-1)
        tokens = tokens + self._first(parameters, tokens, real)
        slices = self._placed(parameters, tokens[:, :, 1:].masked_fill(~real.unsqueeze(-1), 0))
        pooled, attention = self._second(parameters, tokens[:, :, 0], slices, real)
        return pooled, order.restored(attention)

    def _first(
        self,
        parameters: Parameters,
        tokens: Float[Tensor, "run bag token width"],
        real: Bool[Tensor, "bag slice"],
    ) -> Float[Tensor, "run bag token width"]:
        """What attention of all tokens to all tokens adds to them."""
        runs, bags, length, _ = tokens.shape
        weight = parameters["transmil.first.qkv.weight"]
        # The LayerNorm's own weights are taken into the products, since those are smaller than the tokens.
        scale, shift = (parameters[f"transmil.norm_first.{kind}"] for kind in ("weight", "bias"))
        folded = (weight * scale.unsqueeze(1), torch.bmm(weight, shift.unsqueeze(2)).squeeze(2))
        found = StackedLinear.apply(*folded, standardised(tokens).flatten(1, 2))
        query, key, value = found.view(runs * bags, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = torch.nn.functional.pad(real, (1, 0), value=True)[:, None, None].repeat(runs, 1, 1, 1)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        flat = mixed.transpose(1, 2).reshape(runs, bags * length, -1)
        return stacked_linear(parameters, "transmil.first.output", flat).view_as(tokens)

    def _placed(
        self, parameters: Parameters, slices: Float[Tensor, "run bag slice width"]
    ) -> Float[Tensor, "run bag slice width"]:
        """Slices and their three convolutions, which are one of the widest's width."""
        widest = TAPS[-1]
        kernel = torch.zeros_like(parameters[f"transmil.across_{widest}.weight"])
        kernel[..., widest // 2] = 1
        for taps in TAPS:
            beside = (widest - taps) // 2
            kernel = kernel + torch.nn.functional.pad(
                parameters[f"transmil.across_{taps}.weight"], (beside, beside)
            )
        found: Tensor = AlongSlices.apply(slices, kernel)
        return found + parameters[f"transmil.across_{widest}.bias"][:, None, None]

    def _second(
        self,
        parameters: Parameters,
        cls: Float[Tensor, "run bag width"],
        slices: Float[Tensor, "run bag slice width"],
        real: Bool[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "run bag width"], Float[Tensor, "run bag slice"]]:
        """The CLS token behind the second layer and the last LayerNorm, and its attention to slices."""
        normed = standardised(torch.cat([cls.unsqueeze(2), slices], 2))
        query, key, value = (
            parameters[f"transmil.second.{name}.weight"].unflatten(1, (self.heads, -1))
            for name in ("query", "key", "value")
        )
        norm = "transmil.norm_second"
        scale = parameters[f"{norm}.weight"][:, None, None]
        own = affine(parameters, norm, normed[:, :, 0])
        # u = g Wk^T q, the query carried to where the tokens are; what g and b add alike to all drops out.
        asked = torch.matmul(own.unsqueeze(1), query.transpose(2, 3)) * query.shape[2] ** -0.5
        carried = (torch.matmul(asked, key) * scale).transpose(1, 2)
        scores = torch.matmul(carried, normed.transpose(2, 3))
        seen = torch.nn.functional.pad(real, (1, 0), value=True).unsqueeze(1)
        attention = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        mixed = affine(parameters, norm, torch.matmul(attention, normed)).transpose(1, 2)
        values = torch.matmul(mixed, value.transpose(2, 3)).transpose(1, 2).flatten(2)
        found = layer_norm(
            parameters,
            "transmil.norm_final",
            cls + stacked_linear(parameters, "transmil.second.output", values),
        )
        to_slices = scores[..., 1:].masked_fill(~real.unsqueeze(1), -torch.inf).softmax(-1)
        return found, to_slices.mean(2)
