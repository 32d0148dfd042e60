"""Checkpoints from strangers, for networks that `transformers` reads: nothing of them runs or reaches out."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from saved_checkpoints import saved

from attacks.scene import Answer, Attack, Scene

Spoil = Callable[[Path], object]


def given(spoil: Spoil, more: str = "") -> Callable[[Scene], list[str]]:
    """The archive's pipeline with a small ViT from a folder that was spoilt."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        folder = scene.folder / "weights"
        shutil.copytree(saved("vit"), folder)
        spoil(folder)
        backbone = f"extract.backbone={{kind: huggingface, path: {folder}{more}}}"
        return [
            str(scene.archived("pipeline.yaml")),
            *("--set", backbone, "--set", "extract.canvas=64", "--set", "extract.tokens=[cls]"),
            *("--set", "extract.layers=[]", "--set", f"cache.store={scene.folder / 'new.zarr'}"),
        ]

    return arrange


def config(**changes: object) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def processor(**said: object) -> Spoil:
    return lambda folder: (folder / "preprocessor_config.json").write_text(json.dumps(said))


def with_code(folder: Path) -> None:
    code = "import pathlib; pathlib.Path('ran').write_text('ran'); raise SystemExit"
    (folder / "evil.py").write_text(code)
    config(model_type="evil", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})(folder)


def pickled(folder: Path) -> None:
    os.rename(folder / "model.safetensors", folder / "pytorch_model.bin")


def index_outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    names = {"weight_map": {"a": "../../outside/secret.txt"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(names))


def cut(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 100_000)


def nothing_ran(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "new.zarr").exists()
    assert not list(scene.folder.rglob("ran"))
    assert not Path("ran").exists()


ATTACKS = [
    Attack(
        "a checkpoint with code of its own",
        "extract",
        given(with_code, ", layout: {cls: true}"),
        "custom code",
        check=nothing_ran,
    ),
    Attack("a pickle in place of weights", "extract", given(pickled), "pickled weights are not read"),
    Attack("an index that names weights outside", "extract", given(index_outside), "no file of this folder"),
    Attack("weights cut short", "extract", given(cut), "cannot be loaded by transformers"),
    Attack(
        "a config of a terabyte's network",
        "extract",
        given(config(hidden_size=16384, num_attention_heads=4, intermediate_size=16384 * 16)),
        "describes a network of [0-9]+ numbers, and its weights have [0-9]+ bytes",
        check=nothing_ran,
    ),
    Attack("a config of 16,384 blocks", "extract", given(config(num_hidden_layers=16384)), "1024 at most"),
    Attack(
        "a config of an image of a billion pixels a side",
        "extract",
        given(config(image_size=10**9)),
        "image_size 1000000000, a whole number up to 16384",
    ),
    Attack(
        "a config with more blocks than weights",
        "extract",
        given(config(num_hidden_layers=4)),
        "weights lack 'layers?.3.* and [0-9]+ more|weights lack 'encoder.layer.3",
    ),
    Attack(
        "a config of another width",
        "extract",
        given(config(hidden_size=96, num_attention_heads=3)),
        "not of the shape that config.json says",
    ),
    Attack("a quantised checkpoint", "extract", given(config(quantization_config={"bits": 4})), "quantised"),
    Attack(
        "a network of unknown tokens",
        "extract",
        given(config(model_type="mystery")),
        "nothing says which tokens .* extract.backbone.layout",
    ),
    Attack(
        "a processor that scales to -1 .. 1",
        "extract",
        given(processor(rescale_factor=1 / 127.5, image_mean=[0.5] * 3, image_std=[0.5] * 3)),
        "scales pixels otherwise than by 1/255",
    ),
    Attack(
        "a processor that divides by nothing",
        "extract",
        given(processor(image_mean=[0.5] * 3, image_std=[0.5, 0, 0.5])),
        "image_std is .*three numbers above 0",
    ),
    Attack(
        "a processor nested deep",
        "extract",
        given(lambda folder: (folder / "preprocessor_config.json").write_bytes(b"[" * 10**5)),
        "preprocessor_config.json' cannot be read",
    ),
]
