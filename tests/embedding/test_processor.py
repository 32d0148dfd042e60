"""What a checkpoint states of its pixels, read as JSON; sizes that releases are listed with."""

import json
from pathlib import Path

import pytest
from saved_checkpoints import saved

from cache_schema.common.errors import ConfigError
from extract.backbones.huggingface.dinov3 import RELEASES, Dinov3Spec
from extract.backbones.huggingface.layout import FAMILIES
from extract.backbones.huggingface.spec import HuggingFaceSpec
from extract.backbones.processor import Processor, processor_of, read_processor

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
