"""The DINOv2 vision transformer, forward only, with parameters named as in Hugging Face checkpoints.

Why not the one in `transformers`: its parameter names change between releases (weights drawn in name
order must not), it resamples position tables its own way, its fused attention returns no weights, and
importing it takes longer than a small store. The tests hold this one to it, float32, 1e-5.

Blocks are folded once when built: query, key and value become one product, and LayerScale goes into the
projections before it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cache_schema.format.header import BackboneIdentity
from extract.backbones.attention import attend, cls_attention
from extract.backbones.backbone import MeanAndStd, Tokens, layer_name
from extract.backbones.positions import position_rule, resample_positions
from extract.backbones.shape import (
    ATTENTION,
    Shape,
    architecture_of,
    check_layers,
    check_patch_layers,
    patch_grid,
)
from extract.backbones.weights import select_parameters, weights_digest
from extract.slices.sides import Canvas

PutOnDevice = Callable[[Tensor], Tensor]
"""Puts a float32 parameter on its device in its dtype."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Weight `(out, in)` and bias of one product."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """`(..., in)` -> `(..., out)`."""
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer norm over the last axis."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """`(..., dim)` -> `(..., dim)`."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class TransformerBlock:
    """One folded block."""

    norm1: Norm
    qkv: Linear
    out: Linear
    norm2: Norm
    first: Linear
    second: Linear
    heads: int
    gated: bool

    def heads_of(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each `(slice, head, token, head_dim)`."""
        split = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def feed_forward(self, x: Tensor) -> Tensor:
        """GELU, or SwiGLU when gated."""
        wide = self.first(self.norm2(x))
        if not self.gated:
            return self.second(functional.gelu(wide))
        gate, up = wide.chunk(2, dim=-1)
        return self.second(functional.silu(gate) * up)


@dataclass(frozen=True, slots=True)
class DinoNetwork:
    """Sizes and weights, read or drawn, before they are placed."""

    kind: str
    shape: Shape
    weights: Mapping[str, Tensor]
    """A checkpoint's own, whole: its digest is over all of it."""
    where: str
    """Names the weights in errors."""
    drawn: Mapping[str, Any] = field(default_factory=dict)
    """What the architecture says beside the sizes, e.g. the seed."""

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.shape.patch_size

    def place(
        self,
        canvas: Canvas,
        device: torch.device,
        dtype: torch.dtype,
        layers: Sequence[int] = (),
        attention: bool = False,
        patch_layers: Sequence[int] = (),
    ) -> "Transformer":
        """Name the weights by their digest, fold and place them; see `NamedBackbone.build`."""
        shape = self.shape
        grid = patch_grid(shape.patch_size, canvas)
        kept = check_layers(layers, shape.layers)
        identity = BackboneIdentity(
            architecture=architecture_of(shape, self.kind, canvas) | dict(self.drawn),
            weights_sha256=weights_digest(self.weights),
            position_table=position_rule(shape.registers, shape.table_side, grid),
            layers=kept,
        )
        chosen = select_parameters(self.weights, shape.parameters(), self.where)
        inner = check_patch_layers(patch_layers, shape.layers)
        return Transformer(shape, chosen, identity, canvas, device, dtype, attention, inner)


class Transformer:
    """A built backbone: weights on their device in their dtype, the position table resampled."""

    normalised: MeanAndStd | None = None
    """A checkpoint does not say it; the presets' default is what the releases were trained with."""

    def __init__(
        self,
        shape: Shape,
        weights: Mapping[str, Tensor],
        identity: BackboneIdentity,
        canvas: Canvas,
        device: torch.device,
        dtype: torch.dtype,
        attention: bool = False,
        patch_layers: Sequence[int] = (),
    ) -> None:
        """Fold and place the weights (float32, `(name -> tensor)` as in `Shape.parameters`)."""
        self.identity = identity
        self.dim, self.heads = shape.dim, shape.heads
        self.grid = patch_grid(shape.patch_size, canvas)
        self.offers, self.registers = shape.offers, shape.registers
        self._shape, self._attention = shape, attention
        self._patches = {layer: layer_name(layer, "patches") for layer in patch_layers}
        self._kept = {layer: layer_name(layer) for layer in identity.layers}
        full = {name: tensor.to(torch.float32) for name, tensor in weights.items()}

        def place(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype).contiguous()

        prefix, patch_positions = embed_positions(full, self.grid, identity.position_table)
        self._prefix, self._positions = place(prefix), place(patch_positions)
        projection = full["embeddings.patch_embeddings.projection.weight"].flatten(1)
        self._projection = Linear(
            place(projection), place(full["embeddings.patch_embeddings.projection.bias"])
        )
        self._blocks = [fold_block(shape, full, layer, place) for layer in range(shape.layers)]
        # The final norm stays in float32: it decides the precision of every stored number and costs nothing.
        self._final = Norm(
            full["layernorm.weight"].to(device), full["layernorm.bias"].to(device), shape.norm_eps
        )
        self.largest_token = token_bound(full["layernorm.weight"], full["layernorm.bias"])

    def __call__(self, pixels: Tensor) -> Tokens:
        """Embed normalised pixels `(slice, 3, height, width)`; height and width are the canvas."""
        with torch.inference_mode():
            return self._forward(pixels.to(self._prefix.dtype))

    def _forward(self, pixels: Tensor) -> Tokens:
        patches = self._projection(cut_patches(pixels, self._shape.patch_size)) + self._positions
        x = torch.cat([self._prefix.expand(len(pixels), -1, -1), patches], dim=1)
        cls: dict[str, Tensor] = {}
        more: dict[str, Tensor] = {}
        first = self._prefix.shape[1]
        attention: Tensor | None = None
        for number, block in enumerate(self._blocks, start=1):
            query, key, value = block.heads_of(x)
            if self._attention and number == len(self._blocks):
                attention = cls_attention(query, key, self.grid)
            x = x + block.out(attend(query, key, value))
            x = x + block.feed_forward(x)
            if number in self._kept:
                cls[self._kept[number]] = self._final(x[:, 0].float())
            if number in self._patches:
                more[self._patches[number]] = self._final(x[:, first:].float()).unflatten(1, self.grid)
        x = self._final(x.float())
        cls["cls"] = x[:, 0]
        if self.registers:
            more["registers"] = x[:, 1:first]
        return Tokens(cls, x[:, first:].unflatten(1, self.grid), attention, more)


def cut_patches(pixels: Tensor, size: int) -> Tensor:
    """Cut `(slice, 3, height, width)` into `(slice, patch, 3 * size * size)`, patches row by row."""
    slices, channels, height, width = pixels.shape
    cut = pixels.view(slices, channels, height // size, size, width // size, size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(slices, -1, channels * size * size)


def embed_positions(weights: Mapping[str, Tensor], grid: tuple[int, int], rule: str) -> tuple[Tensor, Tensor]:
    """CLS with its position and the registers `(1, 1 + registers, dim)`; the patch table `(patch, dim)`."""
    table = weights["embeddings.position_embeddings"][0]
    side = round((len(table) - 1) ** 0.5)
    patches = resample_positions(table[1:].view(side, side, -1), grid, rule).flatten(0, 1)
    cls = weights["embeddings.cls_token"] + table[:1]
    registers = weights.get("embeddings.register_tokens", cls[:, :0])
    return torch.cat([cls, registers], dim=1), patches


def fold_block(
    shape: Shape, weights: Mapping[str, Tensor], layer: int, place: PutOnDevice
) -> TransformerBlock:
    """Gather one block's parameters; LayerScale is multiplied into the projection before it."""

    def get(name: str) -> Tensor:
        return weights[f"encoder.layer.{layer}.{name}"]

    def scaled(name: str, index: int) -> Linear:
        scale = get(f"layer_scale{index}.lambda1")
        return Linear(place(get(f"{name}.weight") * scale[:, None]), place(get(f"{name}.bias") * scale))

    def norm(index: int) -> Norm:
        return Norm(place(get(f"norm{index}.weight")), place(get(f"norm{index}.bias")), shape.norm_eps)

    parts = [f"{ATTENTION}.{name}" for name in ("query", "key", "value")]
    bias = torch.cat([get(f"{part}.bias") for part in parts]) if shape.qkv_bias else None
    first, second = ("weights_in", "weights_out") if shape.gated else ("fc1", "fc2")
    return TransformerBlock(
        norm1=norm(1),
        qkv=Linear(
            place(torch.cat([get(f"{part}.weight") for part in parts])),
            None if bias is None else place(bias),
        ),
        out=scaled("attention.output.dense", 1),
        norm2=norm(2),
        first=Linear(place(get(f"mlp.{first}.weight")), place(get(f"mlp.{first}.bias"))),
        second=scaled(f"mlp.{second}", 2),
        heads=shape.heads,
        gated=shape.gated,
    )


def token_bound(weight: Tensor, bias: Tensor) -> float:
    """Largest magnitude that the final norm can give: `max(sqrt(dim - 1) |weight| + |bias|)`."""
    return float(((len(weight) - 1) ** 0.5 * weight.abs() + bias.abs()).max())
