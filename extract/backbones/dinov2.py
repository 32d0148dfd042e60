"""DINOv2 from a Hugging Face checkpoint: a local folder, or an id that is fetched once.

Only `config.json` and safetensors files are fetched and read; no code of a repository ever runs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cache_schema.common.errors import ConfigError
from cache_schema.format.header import BackboneIdentity
from extract.backbones.positions import position_rule
from extract.backbones.shape import Shape, architecture, check_layers, patch_grid
from extract.backbones.spec import Dinov2Spec
from extract.backbones.transformer import Transformer
from extract.backbones.weights import read_config, read_weights, select_parameters, weights_digest

FILES = ["config.json", "*.safetensors", "*.safetensors.index.json"]
MODEL_TYPES = ("dinov2", "dinov2_with_registers")


def repository(spec: Dinov2Spec) -> str:
    """The Hugging Face id that a spec means."""
    if spec.repository is not None:
        return spec.repository
    return f"facebook/dinov2-{'with-registers-' if spec.registers else ''}{spec.size}"


def checkpoint_folder(spec: Dinov2Spec, offline: bool) -> Path:
    """The local folder of the weights, fetched when it is allowed and needed.

    Raises:
        ConfigError: If the folder is absent, or the weights cannot be fetched.
    """
    if spec.path is not None:
        if not spec.path.is_dir():
            raise ConfigError(f"extract.backbone.path: there is no folder {str(spec.path)!r}")
        return spec.path
    from huggingface_hub import snapshot_download

    name = repository(spec)
    try:
        return Path(
            snapshot_download(name, revision=spec.revision, allow_patterns=FILES, local_files_only=offline)
        )
    except (OSError, ValueError) as error:  # every error of the hub derives from one of the two
        advice = (
            "it is not in the local Hugging Face cache and extract.offline is set"
            if offline
            else "without internet give extract.backbone.path, or kind: untrained to try things out"
        )
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"cannot get the backbone {name!r}: {advice} ({reason})") from error


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
    dim = int(config.get("hidden_size", 768))
    patch = int(config.get("patch_size", 14))
    gated = bool(config.get("use_swiglu_ffn", False))
    hidden = int(dim * config.get("mlp_ratio", 4))
    return Shape(
        layers=int(config.get("num_hidden_layers", 12)),
        dim=dim,
        heads=int(config.get("num_attention_heads", 12)),
        # SwiGLU keeps two thirds of the width, rounded up to a multiple of 8
        hidden=(int(hidden * 2 / 3) + 7) // 8 * 8 if gated else hidden,
        patch_size=patch,
        registers=int(config.get("num_register_tokens", 4)) if kind == "dinov2_with_registers" else 0,
        table_side=int(config.get("image_size", 224)) // patch,
        gated=gated,
        qkv_bias=bool(config.get("qkv_bias", True)),
        norm_eps=float(config.get("layer_norm_eps", 1e-6)),
    )


def build_dinov2(
    spec: Dinov2Spec,
    canvas: int,
    device: torch.device,
    dtype: torch.dtype,
    layers: Sequence[int] = (),
    attention: bool = False,
    offline: bool = False,
) -> Transformer:
    """Read a checkpoint, name its weights by their digest, and place them; see `Dinov2Spec.build`."""
    folder = checkpoint_folder(spec, offline)
    where = f"the backbone in {str(folder)!r}"
    shape = shape_from_config(read_config(folder), where)
    grid = patch_grid(shape, canvas)
    kept = check_layers(layers, shape.layers)
    weights = read_weights(folder)
    identity = BackboneIdentity(
        architecture=architecture(shape, "dinov2", canvas),
        weights_sha256=weights_digest(weights),
        position_table=position_rule(shape.registers, shape.table_side, grid),
        layers=kept,
    )
    chosen = select_parameters(weights, shape.parameters(), where)
    return Transformer(shape, chosen, identity, canvas, device, dtype, attention)
