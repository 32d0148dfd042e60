"""A stranger's backbone: by YAML, as class, as object; held to the laws, and refused by each of them."""

import sys
from pathlib import Path
from typing import get_args

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import nn

from cache_schema.common import custom
from cache_schema.common.errors import ConfigError, StoreMismatch
from cache_schema.common.law import LawError
from cache_schema.common.pipeline_file import Pipeline, load_pipeline
from cache_schema.store.reader import open_store
from extract.backbones.backbone import Tokens, require_normalised
from extract.backbones.custom import CustomBackboneSpec
from extract.backbones.registry import KINDS
from extract.cli import read_extract_section
from extract.embedding import embed
from extract.extraction import run_extraction
from extract.planning.config import ExtractSection
from extract.planning.plan import plan_extraction
from extract.recompute.recompute import recompute
from extract.said import describe_plan, store_bytes
from extract.testing.backbones import check_backbone, gives_the_declared_sizes

CPU, F32 = torch.device("cpu"), torch.float32

STRANGER = '''
import torch
from torch import nn


class Tiles(nn.Module):
    """Every patch by one product, and their mean for CLS."""

    dim, patch_size = 12, 8

    def __init__(self, seed=0, cls=True):
        super().__init__()
        self.product = nn.Conv2d(3, self.dim, self.patch_size, stride=self.patch_size)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.product.weight.normal_(0, 0.1, generator=generator)
            self.product.bias.zero_()
        self.cls = cls

    def forward(self, pixels):
        patches = self.product(pixels).permute(0, 2, 3, 1)
        return {"patches": patches, "cls": patches.mean(dim=(1, 2)) if self.cls else None}
'''
assert len(STRANGER.strip().splitlines()) <= 30

scope: dict[str, type] = {"__name__": "tests_stranger"}
exec(STRANGER, scope)
Tiles = scope["Tiles"]


def own_kinds():
    return [kind for kind in get_args(KINDS) if kind is not CustomBackboneSpec]


@pytest.mark.parametrize("kind", own_kinds(), ids=lambda kind: kind.__name__)
def test_ours_keep_the_laws(kind, tmp_path):
    examples = kind.examples(tmp_path)
    assert examples
    for spec in examples:
        check_backbone(spec)


def test_a_strangers_class_and_object_keep_the_laws():
    check_backbone(Tiles)
    check_backbone(Tiles(seed=3))
    check_backbone(CustomBackboneSpec(target=Tiles, options={"cls": False}))
    check_backbone(CustomBackboneSpec(target=Tiles), canvas=56)
    check_backbone(CustomBackboneSpec(target=Tiles), canvas=(56, 24))
    check_backbone({"kind": "untrained"}, canvas=(28, 56))


class Dropout(Tiles):
    def forward(self, pixels):
        return super().forward(nn.functional.dropout(pixels, 0.3, training=True))


class InTraining(Tiles):
    """Does not obey `eval`."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def train(self, mode=True):
        return super().train(True)

    def forward(self, pixels):
        return super().forward(self.drop(pixels))


class Transposed(Tiles):
    def forward(self, pixels):
        found = super().forward(pixels)
        return {"patches": found["patches"].transpose(1, 2), "cls": found["cls"]}


class Flipped(Tiles):
    def forward(self, pixels):
        found = super().forward(pixels)
        return {"patches": found["patches"].flip(1)}


class Neighbourly(Tiles):
    """Normalises over the batch, so that blank slices move the others."""

    def forward(self, pixels):
        return super().forward((pixels - pixels.mean()) / pixels.std())


class InPlace(Tiles):
    def forward(self, pixels):
        return super().forward(pixels.mul_(0.5))


class Remembering(Tiles):
    def forward(self, pixels):
        found = super().forward(pixels)
        last, self.last = getattr(self, "last", 0.0), found["patches"].mean()
        return {"patches": found["patches"] + last}


class Huge(Tiles):
    def forward(self, pixels):
        return {"patches": super().forward(pixels)["patches"] * 1e6}


class Unbound(Tiles):
    largest_token = 0.01


class Unseeded(Tiles):
    def __init__(self):
        super().__init__(seed=int(torch.seed() % 2**31))


class Hidden(Tiles):
    """Part of its weights is not in its state."""

    def state_dict(self, *args, **kwargs):
        found = super().state_dict(*args, **kwargs)
        return {name: torch.zeros_like(value) for name, value in found.items()}


class Attentive(Tiles):
    weight = 2.0

    def forward(self, pixels):
        found = super().forward(pixels)
        rows, cols = found["patches"].shape[1:3]
        shares = torch.full((len(pixels), 2, rows, cols), self.weight / (rows * cols))
        return {**found, "cls_attention": shares}


class Half(Tiles):
    """Right for one slice and short for several."""

    def forward(self, pixels):
        return {name: value[: max(1, len(pixels) // 2)] for name, value in super().forward(pixels).items()}


@pytest.mark.parametrize(
    ("part", "law"),
    [
        (Dropout, "repeat"),
        (InTraining, "repeat"),
        (Remembering, "repeat"),
        (Transposed, "places"),
        (Flipped, "places"),
        (Neighbourly, "alone"),
        (InPlace, "pixels"),
        (Huge, "storable"),
        (Unbound, "storable"),
        (Unseeded, "identity"),
        (Hidden, "identity"),
        (Attentive, "attention"),
    ],
)
def test_each_law_refuses_who_breaks_it(part, law):
    with pytest.raises(LawError, match=f"^{law}: ") as broken:
        check_backbone(part)
    assert broken.value.law == law


def test_sizes_are_held_to_what_is_declared_at_every_call():
    with pytest.raises(ConfigError, match=r"gives cls of shape \(2, 12\), expected \(5, 12\)"):
        check_backbone(Half)


def test_the_law_of_sizes_refuses_one_of_ours_that_breaks_it():
    """A stranger's never reaches it: the adapter refuses him before."""
    placed = CustomBackboneSpec(target=Tiles).build(32, CPU, F32)
    placed.heads, placed.offers = 2, frozenset({"cls", "cls_attention"})
    placed._tokens = lambda found, count: Tokens({"cls": found["cls"]}, found["patches"])
    with pytest.raises(LawError, match="sizes: cls_attention of 1 slices has the shape None"):
        gives_the_declared_sizes(placed, 32)


def test_attention_is_given_when_it_is_asked_for():
    class Fair(Attentive):
        weight = 0.5

    check_backbone(Fair)
    spec = CustomBackboneSpec(target=Fair)
    pixels = torch.randn(2, 3, 32, 32)
    assert spec.build(32, CPU, F32)(pixels).attention is None
    placed = spec.build(32, CPU, F32, attention=True)
    assert (placed.heads, tuple(placed(pixels).attention.shape)) == (2, (2, 2, 4, 4))
    with pytest.raises(ConfigError, match="no cls_attention"):
        CustomBackboneSpec(target=Tiles).build(32, CPU, F32, attention=True)


def test_layers_are_taken_by_array_name():
    class Layered(Tiles):
        def forward(self, pixels):
            found = super().forward(pixels)
            return {**found, "cls_l02": found["cls"] * 2}

    placed = CustomBackboneSpec(target=Layered).build(32, CPU, F32, layers=(2,))
    pixels = torch.randn(2, 3, 32, 32)
    assert placed(pixels).cls.keys() == {"cls", "cls_l02"}
    assert placed.identity.layers == (2,)
    with pytest.raises(ConfigError, match="no cls_l01"):
        CustomBackboneSpec(target=Layered).build(32, CPU, F32, layers=(1,))


def test_one_weight_or_option_is_another_identity():
    network = Tiles()
    first = CustomBackboneSpec(target=network).build(32, CPU, F32).identity
    assert first.architecture["kind"] == "custom"
    assert first.architecture["target"] == "tests_stranger:Tiles"
    assert CustomBackboneSpec(target=Tiles()).build(32, CPU, F32).identity == first
    with torch.no_grad():
        network.product.weight[3, 1, 2, 4] += 1e-4
    second = CustomBackboneSpec(target=network).build(32, CPU, torch.bfloat16).identity
    assert second.weights_sha256 != first.weights_sha256
    assert next(network.parameters()).dtype == F32
    assert network.training


class Plain:
    """Patch means, without weights or torch modules."""

    dim, patch_size = 3, 8

    def __call__(self, pixels):
        return {"patches": nn.functional.avg_pool2d(pixels, 8).permute(0, 2, 3, 1)}


def test_without_weights_an_identity_is_needed():
    with pytest.raises(ConfigError, match="`identity`"):
        CustomBackboneSpec(target=Plain).build(32, CPU, F32)

    class Named(Plain):
        identity = "patch means, version 1"

    class Renamed(Plain):
        identity = b"patch means, version 2"

    one, two = (CustomBackboneSpec(target=part).build(32, CPU, F32).identity for part in (Named, Renamed))
    assert one.weights_sha256 != two.weights_sha256
    check_backbone(Named)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dim": None}, "attribute `dim`"),
        ({"patch_size": 8.0}, "attribute `patch_size`"),
        ({"dim": 13}, r"gives cls of shape \(1, 12\), expected \(1, 13\)"),
        ({"patch_size": 7}, "multiple"),
        ({"forward": lambda pixels: {"patches": 1}}, "mapping with the tensor"),
        ({"forward": lambda pixels: pixels}, "mapping with the tensor `patches`, not Tensor"),
    ],
)
def test_what_is_no_backbone_gets_a_sentence(changes, said):
    made = Tiles()
    for name, value in changes.items():
        setattr(made, name, value)
    with pytest.raises(ConfigError, match=said):
        CustomBackboneSpec(target=made).build(32, CPU, F32)


def test_options_stand_in_the_fingerprint_as_json():
    built = CustomBackboneSpec(target=Tiles, options={"seed": 4}).build(32, CPU, F32)
    assert built.identity.architecture["options"] == {"seed": 4}
    with pytest.raises(ValidationError, match="options are numbers, text, lists and mappings"):
        CustomBackboneSpec(target=Tiles, options={"seed": object()})
    with pytest.raises(ConfigError, match="no options"):
        CustomBackboneSpec(target=Tiles(), options={"seed": 4}).load()


def test_pixels_normalised_otherwise_are_refused():
    class Half(Tiles):
        mean, std = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]

    built = CustomBackboneSpec(target=Half).build(32, CPU, F32)
    require_normalised(built, ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    with pytest.raises(ConfigError, match=r"extract\.normalise"):
        require_normalised(built, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.fixture
def cohort(tmp_path, monkeypatch) -> Path:
    """Two volumes, a stranger's module beside the pipeline file, and a process that has seen neither."""
    monkeypatch.setattr(custom, "_given", {})
    monkeypatch.setattr(custom, "_permitted", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "strange_backbone.py").write_text(STRANGER)
    for index in range(2):
        values = np.random.default_rng(index).uniform(50, 200, (19, 23, 17)).astype(np.float32)
        nib.save(nib.Nifti1Image(values, np.diag([8, 8, 8, 1])), tmp_path / f"{index}.nii.gz")
    (tmp_path / "v.csv").write_text("participant_id,path\na,0.nii.gz\nb,1.nii.gz\n")
    section = {
        "input": {"manifest": "v.csv"},
        "canvas": 56,
        "backbone": {"kind": "custom", "target": "strange_backbone:Tiles", "options": {"seed": 2}},
        "dtype": "float32",
        "workers": 0,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "run/c.zarr"}, "extract": section}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(data))
    yield tmp_path
    sys.modules.pop("strange_backbone", None)


def run(cohort: Path, *overrides: str):
    pipeline = load_pipeline(cohort / "p.yaml", overrides)
    return run_extraction(pipeline, read_extract_section(pipeline), progress=False)


def test_a_pipeline_file_embeds_with_a_strangers_backbone(cohort):
    outcome = run(cohort)
    assert (outcome.embedded, outcome.failed) == (2, 0)
    store = open_store(outcome.store)
    assert {spec.name: spec.item_shape for spec in store.header.arrays} == {"cls": (12,), "patch_mean": (12,)}
    assert run(cohort).skipped == 2
    with pytest.raises(StoreMismatch, match="weights_sha256"):
        run(cohort, "extract.backbone.options.seed=3")
    assert recompute(outcome.store, 5).identical


def test_an_object_in_the_section_embeds_too(cohort):
    raw = yaml.safe_load((cohort / "p.yaml").read_text())
    section = ExtractSection.model_validate({**raw["extract"], "backbone": Tiles(seed=2)})
    outcome = run_extraction(Pipeline(raw, cohort), section, progress=False)
    header = open_store(outcome.store).header
    assert header.created["configuration"]["backbone"] == {
        "kind": "custom",
        "target": "tests_stranger:Tiles.<object>",
        "options": {},
    }
    same = run(cohort, "cache.store=run/other.zarr")
    assert same.content_digest == outcome.content_digest
    found = embed(cohort / "0.nii.gz", backbone=Tiles(seed=2), canvas=56, dtype="float32")
    assert found.fingerprint == header.fingerprint


def test_planning_imports_nothing_of_a_strangers(cohort):
    pipeline = load_pipeline(cohort / "p.yaml")
    section = read_extract_section(pipeline)
    plan = plan_extraction(section.input, pipeline.base, section.preprocessing)
    assert "an unknown size" in describe_plan(plan, store_bytes(section, pipeline.base, plan))
    assert "strange_backbone" not in sys.modules


def test_what_is_stored_imports_nothing(cohort, monkeypatch):
    store = run(cohort).store
    monkeypatch.setattr(custom, "_given", {})
    monkeypatch.setattr(custom, "_permitted", set())
    with pytest.raises(ConfigError, match="--allow-custom"):
        recompute(store, 1)


def test_without_a_cls_token_there_is_no_cls(cohort):
    bare = "extract.backbone.options={cls: false}"
    store = open_store(run(cohort, bare, "extract.tokens=[patches, patch_mean]").store)
    names = [spec.name for spec in store.header.arrays]
    assert names == ["patch_mean", "patches", "foreground", "patch_intensity"]
    with pytest.raises(ConfigError, match="has no cls;"):
        run(cohort, bare, "extract.tokens=[cls]", "cache.store=run/other.zarr")
