"""Small checkpoints that `transformers` saved, once in a test run, and `transformers` itself beside ours."""

import functools
import tempfile
from pathlib import Path

import pytest
import torch

from extract.backbones.huggingface.examples import CONFIGURATIONS, SIDE, readable, save_example
from extract.backbones.huggingface.reading import network_class, quiet

NAMES = tuple(CONFIGURATIONS)
WITH_CLS = tuple(name for name in NAMES if name not in ("dinov3_convnext", "siglip", "siglip2", "ijepa"))
CPU = torch.device("cpu")


@functools.cache
def _folder():
    kept = tempfile.TemporaryDirectory(prefix="checkpoints-")
    return kept, Path(kept.name)


@functools.cache
def saved(name):
    """Folder of a small checkpoint; nobody writes into it."""
    if not readable(name):
        pytest.skip(f"this version of transformers reads no {name}")
    return save_example(_folder()[1], name)


def canvas_of(network, patches=SIDE):
    return patches * network.patch_size


def noise(slices, canvas, seed=0):
    return torch.randn(slices, 3, canvas, canvas, generator=torch.Generator().manual_seed(seed))


def reference(name, pixels, patch, attention="eager", **options):
    """The answer of `AutoModel`, asked as its documentation says."""
    with quiet(), torch.inference_mode():
        from transformers import AutoConfig

        kind = network_class(AutoConfig.from_pretrained(saved(name)))
        network = kind.from_pretrained(saved(name), attn_implementation=attention, **options).eval()
        rows, cols = (side // patch for side in pixels.shape[2:])
        given = {"pixel_values": pixels, "output_hidden_states": True}
        if name in WITH_CLS and attention == "eager":
            given["output_attentions"] = True
        if name in ("vit", "vit_mae", "siglip", "ijepa"):
            given["interpolate_pos_encoding"] = True
        if name == "vit_mae":
            network.config.mask_ratio = 0.0
            given["noise"] = torch.arange(rows * cols).float().expand(len(pixels), -1)
        if name == "siglip2":
            cut = pixels.unfold(2, patch, patch).unfold(3, patch, patch)  # n c rows cols y x
            given["pixel_values"] = cut.permute(0, 2, 3, 4, 5, 1).reshape(len(pixels), rows * cols, -1)
            given["pixel_attention_mask"] = torch.ones(len(pixels), rows * cols, dtype=torch.int64)
            given["spatial_shapes"] = torch.tensor([[rows, cols]] * len(pixels))
        return network, network(**given)
