"""The sizes of a DINOv2 network and the names of its parameters, as in Hugging Face checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

from cache_schema.common.errors import ConfigError
from cache_schema.common.text.mistakes import shown
from extract.slices.sides import Canvas, shortest, sides

ATTENTION = "attention.attention"

MODEL_TYPES = ("dinov2", "dinov2_with_registers")
LARGEST_SIZE = 16384
"""Of anything that a config counts; the largest release has a width of 1536."""

LATER: Mapping[str, Any] = {}
"""Sizes that came after version 1.0 -> what every network had before: only another value enters the
fingerprint, so that networks of before keep theirs."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What decides the shape of the arrays."""

    dim: int
    heads: int
    grid: tuple[int, int]
    offers: frozenset[str] = frozenset({"cls", "cls_attention"})
    """As in `Backbone.offers`."""
    registers: int = 0


class Sizes(Protocol):
    """What `backbone list` says of a release."""

    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def layers(self) -> int: ...  # noqa: D102
    @property
    def heads(self) -> int: ...  # noqa: D102
    @property
    def patch_size(self) -> int: ...  # noqa: D102
    @property
    def registers(self) -> int: ...  # noqa: D102

    def count(self) -> int:
        """Numbers among the parameters."""
        ...


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

    @property
    def offers(self) -> frozenset[str]:
        """As in `Backbone.offers`."""
        return frozenset({"cls", "cls_attention", *["registers"] * bool(self.registers)})

    def outline(self, canvas: Canvas) -> Outline:
        """What these sizes make of a canvas."""
        rows, columns = sides(canvas)
        grid = (rows // self.patch_size, columns // self.patch_size)
        return Outline(self.dim, self.heads, grid, self.offers, self.registers)

    def count(self) -> int:
        """Numbers among the parameters."""
        return sum(prod(shape) for shape in self.parameters().values())

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


def architecture_of(shape: Shape, kind: str, canvas: Canvas) -> dict[str, Any]:
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
        "canvas": stored_canvas(canvas),
    }


def check_layers(
    layers: Sequence[int], count: int, key: str = "layers", kept: str = "CLS token is kept as `cls`"
) -> tuple[int, ...]:
    """Sorted, without repeats; the last block's tokens are kept under a name of their own.

    Args:
        layers: Blocks, counted from 1.
        count: That the network has.
        key: Of the section `extract` that names them.
        kept: Of the last block.

    Raises:
        ConfigError: If one is not a block of the network before its last.
    """
    for layer in layers:
        if not count:
            raise ConfigError(f"extract.{key}: this backbone has no blocks whose tokens could be kept")
        if not 1 <= layer < count:
            raise ConfigError(
                f"extract.{key}: {layer} is not a block before the last; this backbone has {count}, "
                f"and the last one's {kept}"
            )
    return tuple(sorted(set(layers)))


def check_patch_layers(layers: Sequence[int], count: int) -> tuple[int, ...]:
    """As `check_layers`, for patch tokens.

    Raises:
        ConfigError: As there.
    """
    return check_layers(layers, count, "tokens", "patch tokens are kept as `patches`")


def stored_canvas(canvas: Canvas) -> int | list[int]:
    """As the architecture says it in the fingerprint: one number where the canvas is square."""
    found = shortest(canvas)
    return found if isinstance(found, int) else list(found)


def patch_grid(patch_size: int, canvas: Canvas) -> tuple[int, int]:
    """Patches of a canvas: rows, cols.

    Raises:
        ConfigError: If a side is not a whole number of patches.
    """
    for side in sides(canvas):
        if side % patch_size or side < patch_size:
            raise ConfigError(
                f"the canvas of {side} px must be a multiple of the backbone's patch of {patch_size} px"
            )
    rows, columns = sides(canvas)
    return rows // patch_size, columns // patch_size


def shape_from_config(config: Mapping[str, Any], where: str) -> Shape:
    """Sizes from a checkpoint's `config.json`, with the format's own defaults.

    Raises:
        ConfigError: If it is another kind of model, or one that this network cannot be.
    """
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        raise ConfigError(
            f"{where}: model_type is {shown(kind)}, expected one of {', '.join(MODEL_TYPES)}; other networks "
            "are of kind: huggingface"
        )
    if config.get("hidden_act", "gelu") != "gelu" or config.get("num_channels", 3) != 3:
        raise ConfigError(f"{where}: expected three channels and hidden_act 'gelu'")
    dim, patch = _size(config, "hidden_size", 768, where), _size(config, "patch_size", 14, where)
    heads = _size(config, "num_attention_heads", 12, where)
    if dim % heads:
        raise ConfigError(f"{where}: hidden_size {dim} is no multiple of num_attention_heads {heads}")
    gated = bool(config.get("use_swiglu_ffn", False))
    hidden = int(dim * _number(config, "mlp_ratio", 4, 64, where))
    registered = kind == "dinov2_with_registers"
    return Shape(
        layers=_size(config, "num_hidden_layers", 12, where),
        dim=dim,
        heads=heads,
        # SwiGLU keeps two thirds of the width, rounded up to a multiple of 8
        hidden=(int(hidden * 2 / 3) + 7) // 8 * 8 if gated else hidden,
        patch_size=patch,
        registers=_size(config, "num_register_tokens", 4, where) if registered else 0,
        table_side=_size(config, "image_size", 224, where) // patch,
        gated=gated,
        qkv_bias=bool(config.get("qkv_bias", True)),
        norm_eps=_number(config, "layer_norm_eps", 1e-6, 1, where),
    )


def _size(config: Mapping[str, Any], name: str, default: int, where: str) -> int:
    """A whole number of a checkpoint's config, from 1 to more than any release has."""
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIZE:
        raise ConfigError(
            f"{where}: config.json says {name} {shown(value)}, "
            f"a whole number from 1 to {LARGEST_SIZE} is expected"
        )
    return value


def _number(config: Mapping[str, Any], name: str, default: float, most: float, where: str) -> float:
    """A positive number of a checkpoint's config."""
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigError(
            f"{where}: config.json says {name} {shown(value)}, "
            f"a number above 0, at most {most:g}, is expected"
        )
    return float(value)
