"""Small checkpoints of every kind of network that is known here, drawn and saved by `transformers` itself."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from extract.backbones.huggingface.reading import network_class, quiet

SIDE = 4
"""Patches along the side that each is made for."""
_SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "initializer_range": 0.1,
}
_WIDE = {**_SMALL, "intermediate_size": 96, "patch_size": 16}
_SQUARE = {**_WIDE, "image_size": 16 * SIDE}
_DINOV2 = {**_SMALL, "patch_size": 14, "image_size": 14 * SIDE}
_DINOV3 = {**_SQUARE, "num_register_tokens": 4}
_STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "layer_scale_init_value": 0.1}
_DECODER = {"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}

CONFIGURATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dinov2": ("Dinov2Config", _DINOV2),
    "dinov2_registers": ("Dinov2WithRegistersConfig", _DINOV2),
    "dinov2_giant": ("Dinov2Config", {**_DINOV2, "use_swiglu_ffn": True}),
    "dinov3": ("DINOv3ViTConfig", _DINOV3),
    "dinov3_gated": ("DINOv3ViTConfig", {**_DINOV3, "use_gated_mlp": True, "hidden_act": "silu"}),
    "dinov3_convnext": ("DINOv3ConvNextConfig", _STAGES),
    "vit": ("ViTConfig", _SQUARE),
    "vit_mae": ("ViTMAEConfig", {**_SQUARE, **_DECODER}),
    "siglip": ("SiglipVisionConfig", _SQUARE),
    "siglip2": ("Siglip2VisionConfig", {**_WIDE, "num_patches": SIDE**2}),
    "ijepa": ("IJepaConfig", _SQUARE),
}
"""Name to configuration class and what it is given."""


def readable(name: str) -> bool:
    """Whether the installed `transformers` reads such a checkpoint: old ones take SigLIP 2 as a pair only."""
    import transformers

    kind = getattr(transformers, CONFIGURATIONS[name][0], None)
    return kind is not None and kind.model_type in transformers.CONFIG_MAPPING


def save_example(folder: Path, name: str, seed: int = 5, **sizes: Any) -> Path:
    """Draw the network of a name and save it; returns its folder.

    Args:
        folder: Where a folder of that name is made.
        name: One of `CONFIGURATIONS`.
        seed: Of torch's generator.
        **sizes: Of the configuration, in place of the small ones.
    """
    with quiet(), torch.random.fork_rng(devices=[]):
        import transformers

        torch.manual_seed(seed)
        kind, given = CONFIGURATIONS[name]
        make: Callable[..., Any] = getattr(transformers, kind)
        config = make(**{**given, **sizes})
        network_class(config)(config).eval().save_pretrained(folder / name)
    return folder / name
