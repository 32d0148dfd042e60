"""The sizes of a DINOv2 network and the names of its parameters, as in Hugging Face checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache_schema.common.errors import ConfigError
from extract.backbones.backbone import Outline

ATTENTION = "attention.attention"

LATER: Mapping[str, Any] = {}
"""Sizes that came after version 1.0 -> what every network had before: only another value enters the
fingerprint, so that networks of before keep theirs."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a network, whatever its weights."""

    layers: int
    dim: int
    heads: int
    hidden: int
    """Width of the feed-forward layer (per branch when gated)."""
    patch_size: int = 14
    registers: int = 0
    table_side: int = 37
    """Side of the position table that the weights come with."""
    gated: bool = False
    """SwiGLU in place of GELU, as in the giant."""
    qkv_bias: bool = True
    norm_eps: float = 1e-6

    def outline(self, canvas: int) -> Outline:
        """What these sizes make of a canvas."""
        side = canvas // self.patch_size
        return Outline(self.dim, self.heads, (side, side))

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, named as in Hugging Face checkpoints."""
        dim, patch = self.dim, self.patch_size
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.cls_token": (1, 1, dim),
            "embeddings.position_embeddings": (1, 1 + self.table_side**2, dim),
            "embeddings.patch_embeddings.projection.weight": (dim, 3, patch, patch),
            "embeddings.patch_embeddings.projection.bias": (dim,),
            "layernorm.weight": (dim,),
            "layernorm.bias": (dim,),
        }
        if self.registers:
            shapes["embeddings.register_tokens"] = (1, self.registers, dim)
        for layer in range(self.layers):
            shapes |= {f"encoder.layer.{layer}.{n}": s for n, s in self.block_parameters().items()}
        return shapes

    def block_parameters(self) -> dict[str, tuple[int, ...]]:
        """Name within its block and shape."""
        dim, hidden = self.dim, self.hidden
        first, second = ("weights_in", "weights_out") if self.gated else ("fc1", "fc2")
        wide = 2 * hidden if self.gated else hidden
        shapes: dict[str, tuple[int, ...]] = {
            f"mlp.{first}.weight": (wide, dim),
            f"mlp.{first}.bias": (wide,),
            f"mlp.{second}.weight": (dim, hidden),
            f"mlp.{second}.bias": (dim,),
            "attention.output.dense.weight": (dim, dim),
            "attention.output.dense.bias": (dim,),
        }
        for name in ("query", "key", "value"):
            shapes[f"{ATTENTION}.{name}.weight"] = (dim, dim)
            if self.qkv_bias:
                shapes[f"{ATTENTION}.{name}.bias"] = (dim,)
        for index in (1, 2):
            shapes |= {f"norm{index}.weight": (dim,), f"norm{index}.bias": (dim,)}
            shapes[f"layer_scale{index}.lambda1"] = (dim,)
        return shapes


def architecture_of(shape: Shape, kind: str, canvas: int) -> dict[str, Any]:
    """The sizes as they stand in the fingerprint."""
    came = {name: getattr(shape, name) for name, before in LATER.items() if getattr(shape, name) != before}
    return came | {
        "kind": kind,
        "layers": shape.layers,
        "dim": shape.dim,
        "heads": shape.heads,
        "hidden": shape.hidden,
        "gated": shape.gated,
        "patch_size": shape.patch_size,
        "registers": shape.registers,
        "table_side": shape.table_side,
        "norm_eps": shape.norm_eps,
        "canvas": canvas,
    }


def check_layers(layers: Sequence[int], count: int) -> tuple[int, ...]:
    """Sorted, without repeats and without the last, whose CLS token is kept anyway.

    Raises:
        ConfigError: If one is not a block of the network.
    """
    for layer in layers:
        if not 1 <= layer < count:
            raise ConfigError(
                f"extract.layers: {layer} is not a block before the last; this backbone has {count}, "
                f"and the last one's CLS token is kept as `cls`"
            )
    return tuple(sorted(set(layers)))


def patches_along(patch_size: int, canvas: int) -> int:
    """Patches along one side of the canvas.

    Raises:
        ConfigError: If the canvas is not a whole number of patches.
    """
    if canvas % patch_size or canvas < patch_size:
        raise ConfigError(
            f"the canvas of {canvas} px must be a multiple of the backbone's patch of {patch_size} px"
        )
    return canvas // patch_size
