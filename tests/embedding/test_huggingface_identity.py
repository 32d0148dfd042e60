"""One checkpoint has one fingerprint, whatever it is called and whoever saved it; one weight moves it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from saved_checkpoints import CPU, NAMES, canvas_of, saved

from extract.backbones.huggingface.dinov3 import Dinov3Spec
from extract.backbones.huggingface.reading import network_class, quiet
from extract.backbones.huggingface.spec import HuggingFaceSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def identity(spec, patches=4):
    network = spec.load(offline=True)
    canvas = canvas_of(network, patches)
    return network.identity(canvas, network.layout.grid(canvas), ())


def at(folder):
    return identity(HuggingFaceSpec(path=folder))


def saved_again(name, folder, **options):
    with quiet():
        from transformers import AutoConfig

        kind = network_class(AutoConfig.from_pretrained(saved(name)))
        kind.from_pretrained(saved(name)).save_pretrained(folder, **options)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_by_folder_and_saved_again_it_is_one(name, tmp_path):
    again = saved_again(name, tmp_path / "another name", max_shard_size="40KB")
    assert len(list(again.glob("*.safetensors"))) > 1
    assert at(again) == at(saved(name))


def test_by_hub_id_it_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--lab--brains"
    shutil.copytree(saved("dinov3"), place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    by_folder = at(saved("dinov3"))
    assert identity(HuggingFaceSpec(repository="lab/brains")) == by_folder
    assert identity(HuggingFaceSpec(repository="lab/brains", revision=COMMIT)) == by_folder
    assert identity(Dinov3Spec(repository="lab/brains")) == by_folder


def test_names_versions_dtypes_and_defaults_are_no_part_of_it(tmp_path):
    folder = shutil.copytree(saved("vit"), tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text())
    stranger = {"_name_or_path": "x/y", "transformers_version": "4.0.0", "id2label": {"0": "tumour"}}
    kept = {name: value for name, value in config.items() if name not in ("qkv_bias", "dtype", "hidden_act")}
    (folder / "config.json").write_text(json.dumps({**kept, **stranger, "torch_dtype": "float32"}))
    assert at(folder) == at(saved("vit"))
    (folder / "config.json").write_text(json.dumps({**kept, "layer_norm_eps": 1e-3}))
    changed = at(folder)
    assert changed.architecture != at(saved("vit")).architecture
    assert changed.weights_sha256 == at(saved("vit")).weights_sha256


def test_a_head_of_another_task_is_no_part_of_it(tmp_path):
    with quiet():
        from transformers import AutoModelForImageClassification

        whole = AutoModelForImageClassification.from_pretrained(saved("vit"), num_labels=3)
        whole.save_pretrained(tmp_path)
    wanted = load_file(saved("vit") / "model.safetensors")
    found = HuggingFaceSpec(path=tmp_path).load()
    assert "pooled" not in found.offers
    assert set(found.weights) == {name for name in wanted if not name.startswith("pooler")}
    # What the checkpoint lacks is drawn anew at every load, and no part of the digest.
    assert at(tmp_path) == at(tmp_path)


def test_the_images_tower_of_a_pair_is_the_tower_alone(tmp_path):
    with quiet():
        from transformers import SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel

        tower = SiglipVisionModel.from_pretrained(saved("siglip"))
        vision = SiglipVisionConfig.from_pretrained(saved("siglip"))
        text = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 96}
        pair = SiglipModel(
            SiglipConfig(text_config=text | {"vocab_size": 11}, vision_config=vision.to_dict())
        )
        pair.vision_model.load_state_dict(
            {name.removeprefix("vision_model."): value for name, value in tower.state_dict().items()}
        )
        pair.save_pretrained(tmp_path)
    assert at(tmp_path) == at(saved("siglip"))
    placed = HuggingFaceSpec(path=tmp_path).load().place(64, CPU, torch.float32)
    assert placed.offers == {"pooled"}


@pytest.mark.parametrize("name", ["dinov2_giant", "dinov3_gated", "dinov3_convnext", "siglip2", "vit_mae"])
def test_every_weight_moves_the_digest_and_nothing_else(name, tmp_path):
    folder = shutil.copytree(saved(name), tmp_path / name)
    # Cloned: tensors of an older safetensors change with the file.
    weights = {key: value.clone() for key, value in load_file(folder / "model.safetensors").items()}
    before = at(folder)
    digests = {before.weights_sha256}
    some = sorted(weights)[::7] + sorted(weights)[-2:]
    for changed in dict.fromkeys(some):
        other = {key: value.clone() for key, value in weights.items()}
        other[changed].view(-1)[-1] += 1e-3
        save_file(other, folder / "model.safetensors", metadata={"format": "pt"})
        after = at(folder)
        assert after.model_copy(update={"weights_sha256": before.weights_sha256}) == before
        digests.add(after.weights_sha256)
    assert len(digests) == 1 + len(set(some))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert at(folder) == before


def test_weights_that_changed_places_are_another_network(tmp_path):
    folder = shutil.copytree(saved("vit"), tmp_path / "vit")
    weights = {key: value.clone() for key, value in load_file(folder / "model.safetensors").items()}
    query = "encoder.layer.0.attention.attention.query.weight"
    key = query.replace("query", "key")
    swapped = {**weights, query: weights[key], key: weights[query]}
    save_file(swapped, folder / "model.safetensors", metadata={"format": "pt"})
    assert at(folder).weights_sha256 != at(saved("vit")).weights_sha256


def test_half_precision_that_is_saved_again_in_single_is_one(tmp_path):
    with quiet():
        from transformers import AutoModel

        half = AutoModel.from_pretrained(saved("vit"), dtype=torch.bfloat16)
        half.save_pretrained(tmp_path / "half")
        AutoModel.from_pretrained(tmp_path / "half", dtype=torch.float32).save_pretrained(tmp_path / "single")
    assert at(tmp_path / "half") == at(tmp_path / "single")
    assert at(tmp_path / "half").weights_sha256 != at(saved("vit")).weights_sha256
