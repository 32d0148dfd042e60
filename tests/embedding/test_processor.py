"""What a checkpoint states of its pixels, read as JSON; sizes that releases are listed with."""

import json
from pathlib import Path

import numpy as np
import pytest
import transformers
from pydantic import TypeAdapter
from saved_checkpoints import saved

from cache_schema.common.errors import ConfigError
from extract.backbones.huggingface.dinov3 import RELEASES, Dinov3Spec
from extract.backbones.huggingface.layout import FAMILIES
from extract.backbones.huggingface.spec import HuggingFaceSpec
from extract.backbones.processor import Processor, processor_of, read_processor
from extract.slices.canvas import CanvasSpec
from extract.slices.resize import resize_of, resize_with_pillow

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    ("stated", "size", "kernel"),
    [
        ({"size": {"height": 224, "width": 196}, "resample": 2}, (224, 196), "bilinear"),
        ({"size": 384, "resample": 3}, (384, 384), "bicubic"),
        (
            {
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "do_center_crop": True,
            },
            (224, 224),
            None,
        ),
        ({"size": {"shortest_edge": 256}, "resample": 1}, None, "lanczos"),
        ({"max_num_patches": 256, "do_resize": False, "resample": 2}, None, None),
    ],
)
def test_a_statement_is_read(stated, size, kernel):
    found = processor_of({**IMAGENET, **stated}, "here")
    assert found == Processor(size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), kernel)


def test_nothing_is_subtracted_where_it_says_so():
    found = processor_of({"do_normalize": False}, "here")
    assert (found.mean, found.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"rescale_factor": 1 / 127.5}, "otherwise than by 1/255"),
        ({"do_rescale": False}, "otherwise than by 1/255"),
        ({"image_std": [1, 1, 0]}, "three numbers above 0"),
        ({"image_mean": [0.5, 0.5]}, "image_mean is .* three numbers"),
        ({"image_mean": [0.5, True, 0.5]}, "three numbers"),
        ({"image_std": None}, "image_std is None"),
    ],
)
def test_a_statement_that_cannot_be_followed_is_refused(stated, says):
    with pytest.raises(ConfigError, match=says):
        processor_of({**IMAGENET, **stated}, "here")


def test_a_pair_states_it_inside(tmp_path):
    assert read_processor(tmp_path) is None
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": IMAGENET}))
    assert read_processor(tmp_path) == processor_of(IMAGENET, "here")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    assert read_processor(tmp_path) == processor_of({"do_normalize": False}, "here")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViTImageProcessor", {"size": {"height": 56, "width": 70}, "resample": 2}),
        ("SiglipImageProcessor", {"size": {"height": 64, "width": 64}, "resample": 3}),
        (
            "BitImageProcessor",
            {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}, "resample": 3},
        ),
    ],
)
def test_the_canvas_that_it_states_gives_the_pixels_that_transformers_gives(name, said, tmp_path):
    made = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    processor = made(**said)
    processor.save_pretrained(tmp_path)
    stated = read_processor(tmp_path)
    canvas = TypeAdapter(CanvasSpec).validate_python(stated.canvas)
    grey = np.random.default_rng(0).integers(0, 256, (1, 61, 84), dtype=np.uint8)  # no odd margin
    pixels = resize_with_pillow(grey, resize_of(canvas, 61, 84), 0)[0] / 255.0
    ours = np.stack([(pixels - mean) / std for mean, std in zip(stated.mean, stated.std, strict=True)])
    theirs = processor(np.repeat(grey[0][..., None], 3, axis=2), return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "stated",
    [
        {"max_num_patches": 256, "resample": 2},
        {"size": 224, "resample": 1},
        {"size": 224, "resample": 2, "do_resize": False},
        {"size": {"shortest_edge": 200}, "crop_size": 224, "do_center_crop": True, "resample": 2},
    ],
)
def test_what_no_canvas_is_has_none(stated):
    assert processor_of({**IMAGENET, **stated}, "here").canvas is None


@pytest.mark.parametrize("kind", ["DINOv3ViTImageProcessor", "DINOv3ViTImageProcessorFast"])
def test_what_is_scaled_before_it_is_resized_is_resized_in_floats(kind):
    """As `transformers` does with torchvision, which no test needs; by Pillow it is a grey level off."""
    stated = {**IMAGENET, "image_processor_type": kind, "size": {"height": 224, "width": 224}, "resample": 2}
    expected = {"kind": "stretch", "pixels": 224, "filter": "torch-bilinear-antialias"}
    assert processor_of({**stated, "do_center_crop": None}, "here").canvas == expected


def test_a_spec_says_what_its_checkpoint_states():
    assert HuggingFaceSpec(path=saved("vit")).processor() is None


@pytest.mark.parametrize("size", ["small", "small_plus", "7b", "convnext_tiny"])
def test_the_sizes_of_releases_are_those_of_their_networks(size):
    import torch
    import transformers

    release = RELEASES[size]
    if release.heads:
        config = transformers.DINOv3ViTConfig(
            hidden_size=release.dim,
            num_hidden_layers=release.layers,
            num_attention_heads=release.heads,
            num_register_tokens=release.registers,
            intermediate_size=release.dim * (2 if size == "7b" else 4),
            use_gated_mlp=size in ("small_plus", "7b"),
            query_bias=size != "7b",
            value_bias=size != "7b",
        )
    else:
        config = transformers.DINOv3ConvNextConfig()
    with torch.device("meta"):
        network = transformers.AutoModel.from_config(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == release.count()
    outline = Dinov3Spec(size=size).outline(224)
    assert (outline.dim, outline.grid) == (release.dim, (224 // release.patch_size,) * 2)
    assert ("cls" in outline.offers) == bool(release.heads)


def test_the_page_names_every_network_that_is_known():
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text()
    assert [name for name in FAMILIES if f"`{name}`" not in page] == []
    assert [size for size in RELEASES if f"`{size}`" not in page] == []
