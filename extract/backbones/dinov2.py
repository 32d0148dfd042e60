"""DINOv2 from a Hugging Face checkpoint: a local folder, or an id that is fetched once.

Only `config.json` and safetensors files are fetched and read; no code of a repository ever runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from cache_schema.common.errors import ConfigError
from cache_schema.common.stored_json import read_json
from cache_schema.common.text.mistakes import shown
from extract.backbones.backbone import NamedBackbone, Outline
from extract.backbones.present import incomplete
from extract.backbones.shape import Shape

if TYPE_CHECKING:
    from extract.backbones.transformer import DinoNetwork

Dinov2Size = Literal["small", "base", "large", "giant"]

RELEASES: Mapping[Dinov2Size, tuple[int, int]] = {
    "small": (384, 6),
    "base": (768, 12),
    "large": (1024, 16),
    "giant": (1536, 24),
}
"""Dim and heads of the releases, all with patches of 14 px."""

FILES = ["config.json", "*.safetensors", "*.safetensors.index.json"]
LARGEST_SIZE = 16384
"""Of anything that a config counts; the largest release has a width of 1536."""
MODEL_TYPES = ("dinov2", "dinov2_with_registers")


class Dinov2Spec(NamedBackbone):
    """The released DINOv2 weights, or a local folder in the same format."""

    kind: Literal["dinov2"] = "dinov2"
    size: Dinov2Size = "small"
    """Which release: ViT-S, B, L or g, patch 14."""
    registers: bool = False
    """The variant with four register tokens."""
    path: Path | None = None
    """A local folder with `config.json` and `*.safetensors`, in place of a download."""
    repository: str | None = None
    """Another Hugging Face id in the same format, e.g. a DINOv2 trained further."""
    revision: str | None = None
    """Commit or tag of the repository; the weights' digest stands in the fingerprint in any case."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path is not None and (self.repository is not None or self.revision is not None):
            raise ValueError("give path, or repository and revision, not both")
        return self

    @property
    def hub_id(self) -> str:
        """The Hugging Face id that is meant."""
        if self.repository is not None:
            return self.repository
        return f"facebook/dinov2-{'with-registers-' if self.registers else ''}{self.size}"

    def located(self, base: Path) -> Self:
        """With a relative `path` taken from the pipeline file's folder."""
        if self.path is None:
            return self
        return self.model_copy(update={"path": base / os.path.expanduser(self.path)})

    def outline(self, canvas: int) -> Outline | None:
        """Sizes of a release or a local folder; None for another id, whose config lies on the network.

        Raises:
            ConfigError: If a local folder has no usable config.
        """
        if self.path is not None:
            return read_shape(checkpoint_folder(self, offline=True)).outline(canvas)
        if self.repository is not None:
            return None
        dim, heads = RELEASES[self.size]
        return Outline(dim, heads, (canvas // 14, canvas // 14))

    def missing(self) -> str | None:
        """Why there are no weights on this machine, and how they get here."""
        if self.path is not None:
            lacks = incomplete(self.path)
            return None if lacks is None else f"extract.backbone.path: {lacks}"
        try:
            lacks = incomplete(checkpoint_folder(self, offline=True))
        except ConfigError:
            lacks = "it is not in the local Hugging Face cache"
        return lacks and (
            f"the backbone {self.hub_id!r} is not on this machine: {lacks}; fetch it where there is "
            "internet, into a cache or folder that this machine sees: slicecache backbone fetch PIPELINE"
        )

    @classmethod
    def examples(cls, folder: Path) -> tuple[Self, ...]:
        """Small checkpoints of every variant, drawn and written below `folder`."""
        return tuple(
            cls(path=write_example(folder / f"{gated}-{registers}", gated, registers))
            for gated in (False, True)
            for registers in (False, True)
        )

    def load(self, offline: bool = False) -> DinoNetwork:
        """Read a checkpoint."""
        from extract.backbones.transformer import DinoNetwork
        from extract.backbones.weights import read_weights

        folder = checkpoint_folder(self, offline)
        return DinoNetwork("dinov2", read_shape(folder), read_weights(folder), called(folder))


def called(folder: Path) -> str:
    """How errors name a checkpoint."""
    return f"the backbone in {str(folder)!r}"


def checkpoint_folder(spec: Dinov2Spec, offline: bool) -> Path:
    """The local folder of the weights, fetched when it is allowed and needed.

    Raises:
        ConfigError: If the folder is absent, or the weights cannot be fetched.
    """
    if spec.path is not None:
        if not os.path.isdir(spec.path):
            raise ConfigError(f"extract.backbone.path: there is no folder {str(spec.path)!r}")
        return spec.path
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                spec.hub_id, revision=spec.revision, allow_patterns=FILES, local_files_only=offline
            )
        )
    except (OSError, ValueError) as error:  # every error of the hub derives from one of the two
        advice = (
            "it is not in the local Hugging Face cache and extract.offline is set"
            if offline
            else "without internet give extract.backbone.path, or kind: untrained to try things out"
        )
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"cannot get the backbone {spec.hub_id!r}: {advice} ({reason})") from error


def read_shape(folder: Path) -> Shape:
    """Sizes from the folder's `config.json`.

    Raises:
        ConfigError: If it is absent, no JSON object, or of another model.
    """
    path = folder / "config.json"
    try:
        config = read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the backbone folder {str(folder)!r} has no readable config.json") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{str(path)!r} must hold a JSON object")
    return shape_from_config(config, called(folder))


def shape_from_config(config: Mapping[str, Any], where: str) -> Shape:
    """Sizes from a checkpoint's `config.json`, with the format's own defaults.

    Raises:
        ConfigError: If it is another kind of model, or one that this network cannot be.
    """
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        raise ConfigError(f"{where}: model_type is {kind!r}, expected one of {', '.join(MODEL_TYPES)}")
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


def write_example(folder: Path, gated: bool, registers: bool) -> Path:
    """A checkpoint of three small blocks with drawn weights, in the releases' format."""
    from safetensors.torch import save_file

    from extract.backbones.weights import draw_weights

    config = {
        "model_type": MODEL_TYPES[int(registers)],
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 70,
        "patch_size": 14,
        "use_swiglu_ffn": gated,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(draw_weights(read_shape(folder).parameters(), seed=5), folder / "model.safetensors")
    return folder
