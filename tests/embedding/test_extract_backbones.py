"""Our transformer against the one of `transformers`, on checkpoints in the real Hugging Face format."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn import functional

from cache_schema.common.errors import ConfigError
from extract.backbones.backbone import Backbone, require_storable
from extract.backbones.dinov2 import Dinov2Spec
from extract.backbones.positions import resample_positions
from extract.backbones.registry import BackboneSpec
from extract.backbones.untrained import UntrainedSpec

pytestmark = pytest.mark.numerics

CPU, F32 = torch.device("cpu"), torch.float32
DIM, LAYERS, HEADS, SIDE = 48, 3, 3, 5
PINNED = "de027e7839081fdd70f1dc4bfd8ca78548cad8ede97c9403b2e65c94f8acb738"


def save_checkpoint(folder: Path, registers: bool, side: int = SIDE, **changes):
    """A small network with every parameter drawn, saved by `transformers` itself."""
    import transformers as hf

    sizes = {
        "hidden_size": DIM,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": 14 * side,
        "patch_size": 14,
        **changes,
    }
    torch.manual_seed(7)
    if registers:
        model = hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**sizes, num_register_tokens=4))
    else:
        model = hf.Dinov2Model(hf.Dinov2Config(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_tokens_equal_those_of_transformers(tmp_path, registers, gated):
    reference = save_checkpoint(tmp_path, registers, use_swiglu_ffn=gated)
    ours = Dinov2Spec(path=tmp_path).build(14 * SIDE, CPU, F32, layers=(2,))
    pixels = torch.randn(3, 3, 14 * SIDE, 14 * SIDE)
    with torch.no_grad():
        theirs = reference(pixels, output_hidden_states=True)
        block = reference.layernorm(theirs.hidden_states[2])[:, 0]
    found = ours(pixels)
    skip = 5 if registers else 1
    assert isinstance(ours, Backbone)
    assert torch.allclose(found.cls["cls"], theirs.last_hidden_state[:, 0], atol=1e-5)
    expected = theirs.last_hidden_state[:, skip:].reshape(3, SIDE, SIDE, DIM)
    assert torch.allclose(found.patches, expected, atol=1e-5)
    assert torch.allclose(found.cls["cls_l02"], block, atol=1e-5)


@pytest.mark.parametrize("registers", [False, True])
def test_a_canvas_need_not_be_square(tmp_path, registers):
    """Rows and columns as the official code counts them, against transformers with its table replaced."""
    reference = save_checkpoint(tmp_path, registers, side=11)
    ours = Dinov2Spec(path=tmp_path).build((14 * 3, 14 * 5), CPU, F32, attention=True)
    assert ours.grid == (3, 5)
    assert ours.identity.architecture["canvas"] == [42, 70]
    table = reference.embeddings.position_embeddings.detach()
    small = resample_positions(table[0, 1:].view(11, 11, DIM), (3, 5), ours.identity.position_table)
    pixels = torch.randn(2, 3, 42, 70)
    with torch.no_grad():
        reference.embeddings.interpolate_pos_encoding = lambda *_: torch.cat(
            [table[:, :1], small.reshape(1, 15, DIM)], dim=1
        )
        expected = reference(pixels).last_hidden_state
    found = ours(pixels)
    assert torch.allclose(found.cls["cls"], expected[:, 0], atol=1e-5)
    assert torch.allclose(found.patches, expected[:, -15:].reshape(2, 3, 5, DIM), atol=1e-5)
    assert found.attention.shape == (2, HEADS, 3, 5)


def test_equal_sides_are_one_number_in_the_fingerprint(tmp_path):
    save_checkpoint(tmp_path, False)
    spec = Dinov2Spec(path=tmp_path)
    assert spec.build((70, 70), CPU, F32).identity == spec.build(70, CPU, F32).identity


@pytest.mark.parametrize("registers", [False, True])
def test_another_canvas_uses_the_official_position_rule(tmp_path, registers):
    """The same network, its table resampled by the official code's own call, gives the same tokens."""
    reference = save_checkpoint(tmp_path, registers, side=11)
    ours = Dinov2Spec(path=tmp_path).build(14 * 4, CPU, F32)
    table = reference.embeddings.position_embeddings.detach()
    grid = table[:, 1:].reshape(1, 11, 11, DIM).permute(0, 3, 1, 2)
    if registers:
        small = functional.interpolate(grid, size=(4, 4), mode="bicubic", antialias=True)
    else:
        small = functional.interpolate(grid, scale_factor=((4 + 0.1) / 11,) * 2, mode="bicubic")
    rows = small.permute(0, 2, 3, 1).reshape(1, 16, DIM)
    reference.embeddings.position_embeddings = torch.nn.Parameter(torch.cat([table[:, :1], rows], dim=1))
    pixels = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        expected = reference(pixels).last_hidden_state
    found = ours(pixels)
    assert torch.allclose(found.cls["cls"], expected[:, 0], atol=1e-5)
    assert torch.allclose(found.patches.flatten(1, 2), expected[:, -16:], atol=1e-5)
    named = "dinov2-size-bicubic-antialias" if registers else "dinov2-scale-offset-0.1-bicubic"
    assert ours.identity.position_table == named


def test_a_checkpoint_with_a_task_head_gives_the_same_tokens(tmp_path):
    import transformers as hf

    torch.manual_seed(3)
    sizes = {"hidden_size": DIM, "num_hidden_layers": 1, "num_attention_heads": HEADS, "image_size": 70}
    model = hf.Dinov2ForImageClassification(hf.Dinov2Config(**sizes, patch_size=14, num_labels=2)).eval()
    model.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 70, 70)
    with torch.no_grad():
        expected = model.dinov2(pixels).last_hidden_state[:, 0]
    found = Dinov2Spec(path=tmp_path).build(70, CPU, F32)(pixels)
    assert torch.allclose(found.cls["cls"], expected, atol=1e-5)


def test_identity_follows_the_weights_and_not_the_name(tmp_path):
    reference = save_checkpoint(tmp_path / "a", registers=False)
    reference.save_pretrained(tmp_path / "b")
    with torch.no_grad():
        reference.encoder.layer[1].norm2.bias[3] += 1e-3
    reference.save_pretrained(tmp_path / "c")
    same, copied, changed = (
        Dinov2Spec(path=tmp_path / name).build(70, CPU, F32).identity for name in ("a", "b", "c")
    )
    assert same == copied
    assert changed.weights_sha256 != same.weights_sha256
    assert changed.model_copy(update={"weights_sha256": same.weights_sha256}) == same
    # the digest is the checkpoint's own: another canvas resamples the table and changes no weight
    other = Dinov2Spec(path=tmp_path / "a").build(56, CPU, F32).identity
    assert other.weights_sha256 == same.weights_sha256
    assert other != same


def test_pickled_weights_are_not_read(tmp_path):
    save_checkpoint(tmp_path, registers=False)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        Dinov2Spec(path=tmp_path).build(70, CPU, F32)


def test_wrong_folders_get_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        Dinov2Spec(path=tmp_path / "none").build(70, CPU, F32)
    with pytest.raises(ConfigError, match=r"config\.json"):
        Dinov2Spec(path=tmp_path).build(70, CPU, F32)
    save_checkpoint(tmp_path, registers=False)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ConfigError, match="'bert'"):
        Dinov2Spec(path=tmp_path).build(70, CPU, F32)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(ConfigError, match=r"encoder\.layer\.3.* is absent"):
        Dinov2Spec(path=tmp_path).build(70, CPU, F32)


def test_offline_without_a_local_copy_gets_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    spec = Dinov2Spec(repository="nobody/has-this")
    with pytest.raises(ConfigError, match="offline is set"):
        spec.build(70, CPU, F32, offline=True)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (Dinov2Spec(), "facebook/dinov2-small"),
        (Dinov2Spec(size="giant", registers=True), "facebook/dinov2-with-registers-giant"),
        (Dinov2Spec(repository="lab/own"), "lab/own"),
    ],
)
def test_repository_names(spec, name):
    assert spec.hub_id == name


@pytest.mark.parametrize("registers", [False, True])
def test_canvas_and_layers_must_fit(registers):
    spec = UntrainedSpec(registers=registers)
    with pytest.raises(ConfigError, match="multiple"):
        spec.build(60, CPU, F32)
    with pytest.raises(ConfigError, match="not a block"):
        spec.build(56, CPU, F32, layers=(3,))


def test_untrained_weights_are_drawn_from_the_seed_alone():
    """The digest is pinned: a change of numpy, torch or of the code that moves one bit shows here."""
    first = UntrainedSpec(seed=0).build(56, CPU, F32).identity
    again = UntrainedSpec(seed=0).build(56, CPU, torch.bfloat16).identity
    other = UntrainedSpec(seed=1).build(56, CPU, F32).identity
    assert first == again
    assert first.weights_sha256 != other.weights_sha256
    assert first.weights_sha256 == PINNED
    assert first.architecture["kind"] == "untrained"


def test_untrained_features_tell_images_apart():
    """Tokens neither collapse nor blow up, in both dtypes."""
    shapes = torch.zeros(4, 3, 56, 56)
    for index in range(4):
        shapes[index, :, 10 : 20 + 8 * index, 8:48] = 1 + index
    for dtype in (F32, torch.bfloat16):
        tokens = UntrainedSpec().build(56, CPU, dtype)(shapes)
        cosine = functional.cosine_similarity(tokens.cls["cls"][:1], tokens.cls["cls"][1:])
        assert (cosine < 0.999).all()
        assert tokens.cls["cls"].norm(dim=1) == pytest.approx(128**0.5, rel=0.02)


def test_bfloat16_stays_near_float32():
    pixels = torch.randn(3, 3, 112, 112)
    exact, fast = (
        UntrainedSpec(size="small").build(112, CPU, dtype)(pixels).cls["cls"]
        for dtype in (F32, torch.bfloat16)
    )
    assert fast.dtype == F32
    assert functional.cosine_similarity(exact, fast).min() > 0.995


def test_float16_storage_is_refused_for_tokens_that_could_overflow(tmp_path):
    reference = save_checkpoint(tmp_path, registers=False)
    ours = Dinov2Spec(path=tmp_path).build(70, CPU, F32)
    require_storable(ours, "float16")
    with torch.no_grad():
        reference.layernorm.weight[5] = 65504 / (DIM - 1) ** 0.5 * 1.01
    reference.save_pretrained(tmp_path)
    wide = Dinov2Spec(path=tmp_path).build(70, CPU, F32)
    require_storable(wide, "float32")
    with pytest.raises(ConfigError, match="float16"):
        require_storable(wide, "float16")


def test_the_bound_on_tokens_is_reached_and_never_passed():
    """One component far from all others is the worst that a layer norm can meet."""
    spike = torch.zeros(1, DIM)
    spike[0, 5] = 1e6
    weight = torch.linspace(-2, 3, DIM)
    worst = functional.layer_norm(spike, (DIM,), weight, None, 1e-6).abs().max()
    from extract.backbones.transformer import token_bound

    bound = token_bound(weight, torch.zeros(DIM))
    assert worst <= bound
    spike = torch.zeros(1, DIM)
    spike[0, -1] = 1e6
    assert functional.layer_norm(spike, (DIM,), weight, None, 1e-6).abs().max() == pytest.approx(
        bound, rel=1e-5
    )


def test_the_union_is_the_registry():
    registry = TypeAdapter(BackboneSpec)
    assert isinstance(registry.validate_python({"kind": "untrained", "size": "tiny"}), UntrainedSpec)
    assert registry.validate_python({"kind": "dinov2", "registers": True}) == Dinov2Spec(registers=True)
    for wrong in (
        {"kind": "resnet"},
        {"kind": "untrained", "size": "giant"},
        {"kind": "dinov2", "sise": "base"},
    ):
        with pytest.raises(ValidationError):
            registry.validate_python(wrong)
    with pytest.raises(ValidationError, match="not both"):
        Dinov2Spec(path=Path("x"), repository="lab/own")
