"""`backbone list` and `backbone show`: read from JSON and headers, and no code of a repository runs."""

import json
import os
import sys
from pathlib import Path

import pytest
from saved_checkpoints import saved

import slicecache
from extract.backbones.dinov2 import write_example
from extract.backbones.weights import read_weights, weights_digest
from extract.fetch.listing import list_backbones


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def command(*given) -> int:
    return slicecache.guarded(slicecache.cli.main, ["backbone", *map(str, given)])


def shown(capsys, *given) -> dict:
    assert command("show", *given, "--json") == 0
    return json.loads(capsys.readouterr().out)


def cached(cache: Path, repository: str, folder: Path) -> None:
    """As the hub's package leaves a repository."""
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("a" * 40)
    (place / "snapshots").mkdir()
    os.symlink(folder, place / "snapshots" / ("a" * 40))


def test_the_list_says_licence_and_gate(capsys):
    rows = {row.name: row for row in list_backbones()}
    assert (rows["dinov2/giant"].licence, rows["dinov2/giant"].gated) == ("Apache-2.0", False)
    assert (rows["dinov3/small"].licence, rows["dinov3/small"].gated) == ("DINOv3 License", True)
    assert rows["untrained/tiny"].licence == ""
    assert command("list") == 0
    said = capsys.readouterr().out
    assert "HF_TOKEN" in said
    row = next(line for line in said.splitlines() if line.startswith("dinov3/7b"))
    assert row.split()[-2:] == ["facebook/dinov3-vit7b16-pretrain-lvd1689m", "no"]


def test_a_folder_in_our_own_format(tmp_path, capsys):
    folder = write_example(tmp_path / "own", gated=True, registers=True)
    found = shown(capsys, folder)
    assert found["kind"] == "dinov2"
    assert found["sizes"] == {"blocks": 3, "dim": 48, "heads": 3, "patch": 14}
    assert (found["tokens"]["cls"], found["tokens"]["registers"]) == (True, 4)
    assert found["digest"] == weights_digest(read_weights(folder))
    weights = read_weights(folder)
    assert found["weights"]["parameters"] == sum(value.numel() for value in weights.values())
    assert found["weights"]["tensors"] == len(weights)
    assert found["weights"]["dtypes"] == ["F32"]
    assert found["processor"] is None
    assert command("show", folder, "--no-digest") == 0
    said = capsys.readouterr().out
    assert f"pipeline   backbone: {{kind: dinov2, path: {folder}}}" in said
    assert "CLS, 4 registers, patches row by row" in said
    assert "digest" not in said


@pytest.mark.parametrize(
    ("name", "kind", "cls", "registers", "extra"),
    [
        ("dinov3", "dinov3", True, 4, "cls_attention"),
        ("siglip2", "huggingface", False, 0, "pooled"),
        ("dinov3_convnext", "dinov3", False, 0, "pooled"),
    ],
)
def test_a_checkpoint_of_transformers(name, kind, cls, registers, extra, capsys):
    folder = saved(name)
    found = shown(capsys, folder)
    assert found["kind"] == kind
    assert (found["tokens"]["cls"], found["tokens"]["registers"]) == (cls, registers)
    assert extra in found["tokens"]["offers"]
    assert len(found["digest"]) == 64


def test_what_the_processor_states(tmp_path, capsys):
    folder = write_example(tmp_path / "own", gated=False, registers=False)
    stated = {
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
        "size": {"height": 70, "width": 84},
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    assert shown(capsys, folder)["processor"] == {
        "size": [70, 84],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "interpolation": "bicubic",
        "canvas": {"kind": "stretch", "pixels": [70, 84], "filter": "pillow-bicubic"},
    }
    command("show", folder, "--no-digest")
    out = capsys.readouterr().out
    assert "70 x 84 px, bicubic, mean 0.5 0.5 0.5, std 0.25 0.25 0.25; for just that say canvas: {" in out
    assert "pixels: [70, 84], filter: pillow-bicubic}, normalise: model" in out


def test_a_repository_in_the_cache_and_one_that_is_not(tmp_path, empty_cache, capsys):
    cached(empty_cache, "lab/own", write_example(tmp_path / "own", gated=False, registers=False))
    assert shown(capsys, "lab/own", "--no-digest")["kind"] == "dinov2"
    assert shown(capsys, "dinov2/lab/own", "--no-digest")["source"] == "lab/own"
    for name, said in (
        ("lab/absent", "slicecache backbone fetch huggingface/lab/absent"),
        ("dinov2/small", "slicecache backbone fetch dinov2/small"),
        ("dinov2/lab/absent@v1", "slicecache backbone fetch dinov2/lab/absent@v1"),
        ("dinov3/base", "or set HF_TOKEN, then fetch them"),
        ("dinov2/smal", "did you mean 'dinov2/small'"),
        ("absent", "there is no backbone 'absent'"),
    ):
        assert command("show", name) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1


def test_a_network_that_nobody_knows(tmp_path, capsys):
    """Its headers are told all the same, and what is not known says why."""
    folder = write_example(tmp_path / "odd", gated=False, registers=False)
    (folder / "config.json").write_text('{"model_type": "somebodys"}')
    (folder / "modeling.py").write_text("raise SystemExit('code of a repository ran')")
    found = shown(capsys, folder)
    assert "nothing says which tokens" in found["tokens"]["unknown"]
    assert found["digest"].startswith("unknown: ")
    assert found["weights"]["tensors"] > 10
    assert not {name for name in sys.modules if "modeling" in name and "odd" in name}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "has no .safetensors file"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "must hold a JSON object"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64), "cannot read the weights"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "cannot be read"),
    ],
)
def test_what_cannot_be_shown(tmp_path, capsys, damage, said):
    folder = write_example(tmp_path / "own", gated=False, registers=False)
    damage(folder)
    assert command("show", folder) == 2
    assert said in capsys.readouterr().err


def test_what_is_drawn_has_no_files(capsys):
    found = shown(capsys, "untrained/tiny")
    assert found["weights"] is None
    assert found["pipeline"] == "backbone: {kind: untrained}"
    assert len(found["digest"]) == 64
