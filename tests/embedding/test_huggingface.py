"""Networks of `transformers` behind our interface, held to `transformers` itself."""

import pytest
import torch
from saved_checkpoints import CPU, NAMES, WITH_CLS, canvas_of, noise, reference, saved

from cache_schema.common.errors import ConfigError
from extract.backbones.dinov2 import Dinov2Spec
from extract.backbones.huggingface.spec import HuggingFaceSpec
from extract.testing.backbones import check_backbone


def load(name):
    return HuggingFaceSpec(path=saved(name)).load()


@pytest.mark.parametrize("patches", [4, 6])
@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_of_transformers(name, patches):
    network = load(name)
    canvas = canvas_of(network, patches)
    pixels = noise(3, canvas)
    found = network.place(canvas, CPU, torch.float32)(pixels)
    _, wanted = reference(name, pixels, network.patch_size)
    tokens = wanted.last_hidden_state
    count = patches**2
    torch.testing.assert_close(found.patches.flatten(1, 2), tokens[:, -count:], rtol=0, atol=1e-5)
    assert ("cls" in found.cls) == (name in WITH_CLS)
    if name in WITH_CLS:
        torch.testing.assert_close(found.cls["cls"], tokens[:, 0], rtol=0, atol=1e-5)
    assert ("pooled" in found.cls) == (name in ("vit", "siglip", "siglip2", "dinov3_convnext"))
    if "pooled" in found.cls:
        torch.testing.assert_close(found.cls["pooled"], wanted.pooler_output, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", WITH_CLS)
def test_attention_and_inner_layers_are_those_of_eager(name):
    network = load(name)
    canvas = canvas_of(network)
    pixels = noise(2, canvas)
    placed = network.place(canvas, CPU, torch.float32, layers=(1, 2), attention=True)
    placed(noise(2, canvas, seed=1))
    found = placed(pixels)
    plain, wanted = reference(name, pixels, network.patch_size)
    weights = wanted.attentions[-1][:, :, 0, -16:].unflatten(2, (4, 4))
    assert weights.std() > 1e-3
    torch.testing.assert_close(found.attention, weights, rtol=0, atol=1e-6)
    norm = plain.norm if name.startswith("dinov3") else plain.layernorm
    for layer in (1, 2):
        with torch.inference_mode():
            token = norm(wanted.hidden_states[layer][:, 0])
        torch.testing.assert_close(found.cls[f"cls_l{layer:02d}"], token, rtol=0, atol=1e-5)
    assert placed.heads == 3


def test_masked_autoencoders_mask_nothing_here():
    pixels = noise(2, 64)
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(saved("vit_mae")).eval()
    with torch.inference_mode():
        once, twice = (plain(pixels).last_hidden_state for _ in range(2))
    assert once.shape[1] == 5
    assert not torch.equal(once, twice)
    placed = load("vit_mae").place(64, CPU, torch.float32)
    assert torch.equal(placed(pixels).patches, placed(pixels).patches)


@pytest.mark.parametrize("name", ["dinov2", "dinov3", "vit", "siglip", "siglip2", "ijepa"])
def test_bfloat16_is_that_of_transformers(name):
    network = load(name)
    canvas = canvas_of(network)
    pixels = noise(2, canvas)
    found = network.place(canvas, CPU, torch.bfloat16)(pixels)
    _, wanted = reference(name, pixels, network.patch_size, attention="sdpa", dtype=torch.bfloat16)
    assert torch.equal(found.patches.flatten(1, 2), wanted.last_hidden_state[:, -16:].float())


@pytest.mark.parametrize(
    ("name", "native", "other"),
    [
        ("dinov2", "native", "transformers-size-bicubic"),
        ("dinov2_registers", "native", "transformers-size-bicubic-antialias"),
        ("dinov3", "rotary", "rotary"),
        ("dinov3_convnext", "none", "none"),
        ("siglip2", "native", "transformers-size-bilinear-antialias"),
    ],
)
def test_the_position_rule_is_named(name, native, other):
    network = load(name)
    rules = [
        network.place(canvas_of(network, side), CPU, torch.float32).identity.position_table for side in (4, 5)
    ]
    assert rules == [native, other]


def test_a_declared_layout_says_what_no_configuration_does():
    plain = load("vit").place(64, CPU, torch.float32)
    declared = HuggingFaceSpec(path=saved("vit"), layout={"cls": True})
    assert declared.load().place(64, CPU, torch.float32).identity == plain.identity
    wrong = HuggingFaceSpec(path=saved("vit"), layout={"cls": False}).load()
    with pytest.raises(ConfigError, match=r"tokens of shape \(1, 17, 48\), and 0 before 4 x 4"):
        wrong.place(64, CPU, torch.float32)


@pytest.mark.parametrize("name", ["dinov2", "dinov2_registers", "dinov2_giant"])
def test_the_exact_path_gives_what_the_adapter_gives_at_the_native_grid(name):
    pixels = noise(2, 56)
    exact = Dinov2Spec(path=saved(name)).build(56, CPU, torch.float32, layers=(1,), attention=True)(pixels)
    adapted = load(name).place(56, CPU, torch.float32, layers=(1,), attention=True)(pixels)
    for token in ("cls", "cls_l01"):
        torch.testing.assert_close(adapted.cls[token], exact.cls[token], rtol=0, atol=1e-5)
    torch.testing.assert_close(adapted.patches, exact.patches, rtol=0, atol=1e-5)
    torch.testing.assert_close(adapted.attention, exact.attention, rtol=0, atol=1e-6)


def test_the_laws_find_a_network_that_masks(monkeypatch):
    monkeypatch.setattr(
        "extract.backbones.huggingface.placed.PretrainedBackbone._inputs",
        lambda self, pixels: {"pixel_values": pixels},
    )
    with pytest.raises(ConfigError, match="answers one slice in two ways"):
        check_backbone({"kind": "huggingface", "path": str(saved("vit_mae"))})


@pytest.mark.numerics
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["dinov3", "dinov3_convnext", "siglip2"])
def test_the_place_in_a_batch_changes_no_bit(name, dtype):
    network = load(name)
    canvas = canvas_of(network)
    placed = network.place(canvas, CPU, dtype, attention="cls_attention" in network.offers)
    pixels, order = noise(8, canvas), torch.tensor([3, 7, 0, 1, 6, 2, 5, 4])
    here, there = placed(pixels), placed(pixels[order].contiguous())
    assert torch.equal(here.patches[order], there.patches)
    for token, values in here.cls.items():
        assert torch.equal(values[order], there.cls[token])
    if here.attention is not None:
        assert torch.equal(here.attention[order], there.attention)


@pytest.mark.parametrize("name", ["dinov3", "siglip2", "vit"])
def test_a_canvas_that_is_no_square_is_that_of_transformers(name):
    network = load(name)
    rows, columns = 3 * network.patch_size, 5 * network.patch_size
    pixels = torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(0))
    found = network.place((rows, columns), CPU, torch.float32)(pixels)
    assert found.patches.shape[1:3] == (3, 5)
    _, wanted = reference(name, pixels, network.patch_size)
    torch.testing.assert_close(
        found.patches.flatten(1, 2), wanted.last_hidden_state[:, -15:], rtol=0, atol=1e-5
    )
