"""Which tokens a network of `transformers` gives, in which order: read from its configuration, or declared.

An answer is `[CLS?, registers..., patches row by row]`, or a map of features. No torch here, so that planning
can say how large a store gets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import Strict
from cache_schema.common.text.mistakes import shown
from extract.backbones.shape import LARGEST_SIZE, Outline, patch_grid
from extract.slices.sides import Canvas, sides

TABLE = "transformers-size-bicubic"
TABLE_ANTIALIAS = "transformers-size-bicubic-antialias"
TABLE_BILINEAR = "transformers-size-bilinear-antialias"
ROTARY = "rotary"
NO_POSITIONS = "none"
OWN = "own"
"""Position rules: how `transformers` brings a table to the patch grid of the canvas, or that it has none."""
MOST_LAYERS = 1024
"""The largest release has 40."""
TABLES = (TABLE, TABLE_ANTIALIAS, TABLE_BILINEAR)


class DeclaredLayout(Strict):
    """`layout: {cls: true, registers: 4, patch_size: 16}` of a network that the list below does not have."""

    cls: bool
    """Whether the first token is CLS."""
    registers: int = Field(default=0, ge=0, le=1024)
    """Tokens between it and the patches that are left out, e.g. DeiT's distillation token."""
    patch_size: int | None = Field(default=None, ge=1, le=1024)
    """Pixels along a side of what a patch token stands for; None where the configuration says it, e.g.
    `16`."""


@dataclass(frozen=True, slots=True)
class Family:
    """What every network of a `model_type` has."""

    cls: bool = True
    registers: int = 0
    """Where the configuration does not say `num_register_tokens`."""
    lead: int = 0
    """Tokens before the patches that are neither, e.g. the mean that ConvNeXt puts first."""
    pooled: bool = False
    """Whether `pooler_output` is a pooling of its own, trained, and not the CLS token again."""
    norm: str | None = None
    """Name of the norm behind the last block."""
    positions: str = OWN
    attends: bool = True
    """Whether its blocks attend: a network of convolutions does not."""
    bounded: bool = True
    """Whether nothing that it gives is larger than what the norm can give."""


FAMILIES: Mapping[str, Family] = {
    "dinov2": Family(norm="layernorm", positions=TABLE),
    "dinov2_with_registers": Family(registers=4, norm="layernorm", positions=TABLE_ANTIALIAS),
    "dinov3_vit": Family(norm="norm", positions=ROTARY),
    "dinov3_convnext": Family(
        cls=False, lead=1, pooled=True, norm="layer_norm", positions=NO_POSITIONS, attends=False
    ),
    "vit": Family(pooled=True, norm="layernorm", positions=TABLE),
    "vit_mae": Family(norm="layernorm", positions=TABLE),
    "vit_msn": Family(norm="layernorm", positions=TABLE),
    "ijepa": Family(cls=False, norm="layernorm", positions=TABLE),
    "siglip_vision_model": Family(
        cls=False, pooled=True, norm="post_layernorm", positions=TABLE, bounded=False
    ),
    "siglip2_vision_model": Family(
        cls=False, pooled=True, norm="post_layernorm", positions=TABLE_BILINEAR, bounded=False
    ),
}
"""Those that tests hold to `transformers` itself; any other network says its layout in the pipeline."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Of one network."""

    model_type: str
    family: Family
    patch_size: int
    registers: int
    dim: int
    layers: int
    heads: int
    table_side: int | None
    """Patches along a side of the position table; None without one."""

    @property
    def prefix(self) -> int:
        """Tokens before the patches."""
        return self.family.lead + self.registers + self.family.cls

    @property
    def offers(self) -> frozenset[str]:
        """As in `Backbone.offers`, if the weights have all that the family has."""
        has = {
            "cls": self.family.cls,
            "cls_attention": self.family.cls and self.family.attends,
            "pooled": self.family.pooled,
            "registers": self.registers > 0,
        }
        return frozenset(name for name, there in has.items() if there)

    def outline(self, canvas: Canvas) -> Outline:
        """What these sizes make of a canvas."""
        rows, columns = sides(canvas)
        grid = (rows // self.patch_size, columns // self.patch_size)
        return Outline(self.dim, self.heads, grid, self.offers, self.registers)

    def grid(self, canvas: Canvas) -> tuple[int, int]:
        """Patches along the canvas.

        Raises:
            ConfigError: If it is not a whole number of patches.
        """
        return patch_grid(self.patch_size, canvas)

    def position_rule(self, grid: tuple[int, int]) -> str:
        """How positions come to the grid, as the fingerprint says it."""
        rule = self.family.positions
        return "native" if rule in TABLES and grid == (self.table_side, self.table_side) else rule


def vision_config(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The part of a configuration that the images' network is made of.

    Raises:
        ConfigError: If it is no object.
    """
    inner = config.get("vision_config")
    if inner is None:
        return config
    if not isinstance(inner, Mapping):
        raise ConfigError(f"{where}: config.json says vision_config {shown(inner)}, an object is expected")
    # What a configuration of text and images leaves out of the images' part goes without saying.
    kind = inner.get("model_type") or f"{config.get('model_type')}_vision_model"
    return {**inner, "model_type": kind}


def layout_of(config: Mapping[str, Any], declared: DeclaredLayout | None, where: str) -> Layout:
    """The layout of a network.

    Args:
        config: As `config.json` says it, or as `transformers` completed it.
        declared: The pipeline's `layout`.
        where: Names the checkpoint in errors.

    Raises:
        ConfigError: If nothing says it, or the configuration is none of a network for images.
    """
    config = vision_config(config, where)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: config.json says model_type {shown(kind)}, a name is expected")
    family = _family(kind, declared, where)
    if config.get("num_channels", 3) != 3:
        raise ConfigError(
            f"{where}: it takes {shown(config['num_channels'])} channels, and slices are given as three"
        )
    widths = config.get("hidden_sizes")
    sizes = {"hidden_size": widths[-1]} if isinstance(widths, list) and widths else {}
    patch = declared.patch_size if declared is not None and declared.patch_size else _patch(config, where)
    said = "num_register_tokens" in config and declared is None
    return Layout(
        model_type=kind,
        family=family,
        patch_size=patch,
        registers=_size(config, "num_register_tokens", where, 0) if said else family.registers,
        dim=_size({**config, **sizes}, "hidden_size", where, _HIDDEN.get(kind, 768)),
        layers=_layers(config, where),
        heads=_size(config, "num_attention_heads", where, _HEADS.get(kind, 12)) if family.attends else 0,
        table_side=_table_side(config, patch, where),
    )


_HIDDEN = {"dinov3_vit": 384}
_HEADS = {"dinov3_vit": 6}
"""Where a configuration leaves out what is the default of its kind."""


def _family(kind: str, declared: DeclaredLayout | None, where: str) -> Family:
    if declared is not None:
        known = FAMILIES.get(kind, Family())
        return Family(
            declared.cls, declared.registers, 0, known.pooled, known.norm, known.positions, known.attends
        )
    if kind not in FAMILIES:
        raise ConfigError(
            f"{where}: nothing says which tokens a network of model_type {kind!r} gives; say it, e.g. "
            "extract.backbone.layout: {cls: true, registers: 0} (known without: "
            f"{', '.join(sorted(FAMILIES))})"
        )
    return FAMILIES[kind]


def _patch(config: Mapping[str, Any], where: str) -> int:
    """Side of a patch; for stages of convolutions, what they reduce by."""
    if "depths" in config and "patch_size" not in config:
        return int(2 ** (len(config["depths"]) + 1)) if isinstance(config["depths"], list) else 32
    return _size({"patch_size": _side(config.get("patch_size", 16))}, "patch_size", where, 16)


def _side(value: Any) -> Any:
    """One number for a square that is given by both."""
    square = isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]
    return value[0] if square else value


def _layers(config: Mapping[str, Any], where: str) -> int:
    """Blocks; 0 for stages, none of which has a CLS token."""
    count = 0 if "depths" in config else _size(config, "num_hidden_layers", where, 12)
    if count > MOST_LAYERS:
        raise ConfigError(f"{where}: config.json says {count} blocks, {MOST_LAYERS} at most are read")
    return count


def _table_side(config: Mapping[str, Any], patch: int, where: str) -> int | None:
    """From the image size, or the number of patches, that the network was trained with."""
    if config.get("num_patches") is not None:
        return round(_size(config, "num_patches", where, 256) ** 0.5)
    size = _side(config.get("image_size", 224))
    return None if isinstance(size, list) else _size({"image_size": size}, "image_size", where, 224) // patch


def _size(config: Mapping[str, Any], name: str, where: str, default: int) -> int:
    """A whole number of a configuration."""
    value = config.get(name, default)
    if type(value) is not int or not (0 if name == "num_register_tokens" else 1) <= value <= LARGEST_SIZE:
        raise ConfigError(
            f"{where}: config.json says {name} {shown(value)}, "
            f"a whole number up to {LARGEST_SIZE} is expected"
        )
    return value
