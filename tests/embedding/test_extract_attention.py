"""Attention: the fused form against the sum written out, and the CLS row against eager attention weights."""

from pathlib import Path

import pytest
import torch

from extract.backbones.attention import attend, cls_attention
from extract.backbones.dinov2 import Dinov2Spec
from extract.backbones.untrained import UntrainedSpec

pytestmark = pytest.mark.numerics

CPU = torch.device("cpu")


def save_eager(folder: Path, registers: bool):
    """A drawn checkpoint, and the same network with eager attention, which gives weights back."""
    import transformers as hf

    sizes = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 70,
        "patch_size": 14,
    }
    torch.manual_seed(11)
    if registers:
        model = hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**sizes, num_register_tokens=4))
    else:
        model = hf.Dinov2Model(hf.Dinov2Config(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    model.set_attn_implementation("eager")
    return model.eval()


@pytest.mark.parametrize("registers", [False, True])
def test_cls_attention_equals_the_last_blocks_eager_weights(tmp_path, registers):
    reference = save_eager(tmp_path, registers)
    ours = Dinov2Spec(path=tmp_path).build(70, CPU, torch.float32, attention=True)
    pixels = torch.randn(3, 3, 70, 70)
    with torch.no_grad():
        weights = reference(pixels, output_attentions=True).attentions[-1]
    found = ours(pixels).attention
    skip = 5 if registers else 1
    expected = weights[:, :, 0, skip:].reshape(3, 3, 5, 5)
    assert found is not None
    assert (found - expected).abs().max() < 1e-6
    # CLS and registers keep their share of the softmax
    assert (found.sum(dim=(2, 3)) < 1).all()


def test_attention_is_left_out_unless_asked_for():
    pixels = torch.randn(1, 3, 56, 56)
    assert UntrainedSpec().build(56, CPU, torch.float32)(pixels).attention is None


def test_attend_is_the_written_out_sum():
    """out_i = sum_j softmax_j(q_i . k_j / sqrt(width)) v_j, per head."""
    slices, heads, tokens, width = 2, 3, 7, 5
    query, key, value = torch.randn(3, slices, heads, tokens, width, dtype=torch.float64).unbind(0)
    found = attend(query, key, value)
    for s in range(slices):
        for h in range(heads):
            for i in range(tokens):
                scores = torch.stack([query[s, h, i] @ key[s, h, j] for j in range(tokens)]) / width**0.5
                share = scores.exp() / scores.exp().sum()
                expected = sum(share[j] * value[s, h, j] for j in range(tokens))
                got = found[s, i, h * width : (h + 1) * width]
                assert (got - expected).abs().max() < 1e-12


def test_cls_attention_is_the_written_out_softmax():
    query, key = torch.randn(2, 2, 3, 1 + 4 + 6, 5).unbind(0)
    found = cls_attention(query, key, (2, 3))
    for s in range(2):
        for h in range(3):
            scores = (key[s, h].double() @ query[s, h, 0].double()) / 5**0.5
            share = scores.exp() / scores.exp().sum()
            assert (found[s, h].flatten() - share[5:]).abs().max() < 1e-6
