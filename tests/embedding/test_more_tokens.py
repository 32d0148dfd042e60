"""Registers, and patch tokens of inner blocks: what they are, what they cost, and who refuses them."""

import numpy as np
import pytest
import torch
from made_up_store import example_header
from pydantic import TypeAdapter

import slicecache as sc
from aggregate.bags.bags import arrays_of
from cache_schema.common.errors import ConfigError
from cache_schema.format.layout import MAX_CHUNK_BYTES, chunk_slices, item_bytes
from cache_schema.store.reader import open_store
from extract.backbones.backbone import require_storable
from extract.backbones.dinov2 import write_example
from extract.backbones.registry import BackboneSpec
from extract.planning.plan import plan_extraction
from extract.recompute.recompute import recompute
from extract.said import store_bytes

CPU, F32 = torch.device("cpu"), torch.float32
SIDE, CANVAS = 4, 56
TOKENS = ["patches", "registers", "patches_l01", "patches_l02"]
HOW = {
    "canvas": CANVAS,
    "backbone": {"kind": "untrained", "size": "tiny", "registers": True},
    "tokens": TOKENS,
    "layers": [2],
    "dtype": "float32",
    "workers": 0,
}


def built(spec: dict, **options):
    return TypeAdapter(BackboneSpec).validate_python(spec).build(CANVAS, CPU, F32, **options)


@pytest.mark.parametrize("kind", ["dinov2", "huggingface"])
def test_they_are_those_of_transformers(tmp_path, kind):
    import transformers

    folder = write_example(tmp_path / "with", gated=False, registers=True)
    reference = transformers.AutoModel.from_pretrained(folder).eval()
    ours = built({"kind": kind, "path": folder}, layers=(1,), patch_layers=(1, 2))
    pixels = torch.randn(2, 3, CANVAS, CANVAS)
    with torch.no_grad():
        theirs = reference(pixels, output_hidden_states=True)
        inner = {layer: reference.layernorm(theirs.hidden_states[layer]) for layer in (1, 2)}
    found = ours(pixels)
    assert (ours.registers, found.more.keys()) == (4, {"registers", "patches_l01", "patches_l02"})
    # At another canvas than the checkpoint's table the two resample positions in their own ways.
    atol = 1e-5 if kind == "huggingface" else 2e-2
    for layer, expected in inner.items():
        got = found.more[f"patches_l{layer:02d}"].flatten(1, 2)
        torch.testing.assert_close(got, expected[:, 5:], atol=atol, rtol=0)
        # the rounding to float16 of the same norm, whatever the block
        assert float(got.abs().max()) <= ours.largest_token
    torch.testing.assert_close(found.more["registers"], theirs.last_hidden_state[:, 1:5], atol=atol, rtol=0)
    torch.testing.assert_close(found.cls["cls_l01"], inner[1][:, 0], atol=atol, rtol=0)


@pytest.fixture
def files(tmp_path):
    import nibabel as nib

    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (31, 37, 9)), indexing="ij"))
    values = ((grid**2).sum(axis=0) < 0.6) * np.random.default_rng(0).uniform(50, 200, grid.shape[1:])
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([5, 5, 5, 1])), tmp_path / "a.nii.gz")
    (tmp_path / "v.csv").write_text("participant_id,path\na,a.nii.gz\n")
    return tmp_path


def test_a_store_keeps_them_proves_them_and_makes_them_again(files, monkeypatch):
    monkeypatch.chdir(files)
    store = open_store(sc.extract(store="c.zarr", input={"manifest": "v.csv"}, **HOW).store)
    shapes = {spec.name: (spec.dims[2:], spec.item_shape) for spec in store.header.arrays}
    patches = (("row", "col", "dim"), (SIDE, SIDE, 128))
    assert shapes == {
        "cls": (("dim",), (128,)),
        "cls_l02": (("dim",), (128,)),
        "patches": patches,
        "patches_l01": patches,
        "patches_l02": patches,
        "registers": (("register", "dim"), (4, 128)),
        "foreground": (("row", "col"), (SIDE, SIDE)),
        "patch_intensity": (("row", "col"), (SIDE, SIDE)),
    }
    key = store.entries[0].key
    again = sc.embed("a.nii.gz", **{name: value for name, value in HOW.items() if name != "workers"})
    for name in ("registers", "patches_l01"):
        np.testing.assert_array_equal(store.read_volume(name, key), again[name].astype(np.float16))
        assert store.record(key).arrays[name].sha256
    assert not np.array_equal(again["patches_l01"], again["patches_l02"])
    assert recompute(store.location, 5, 0).ok
    for tokens in ("registers", "patches_l01"):
        with pytest.raises(ConfigError, match=f"'{tokens}' is not one vector per slice; use cls or cls_l02"):
            arrays_of(store.header, tokens)


def test_the_fingerprint_knows_nothing_of_them(files, monkeypatch):
    """Which arrays are kept changes no number of another array, as with `patches`."""
    monkeypatch.chdir(files)
    own = {**HOW, "tokens": ["patches"]}
    one, two = (
        open_store(sc.extract(store=f"{n}.zarr", input={"manifest": "v.csv"}, **how).store)
        for n, how in enumerate((HOW, own))
    )
    assert one.header.fingerprint == two.header.fingerprint
    key = one.entries[0].key
    np.testing.assert_array_equal(one.read_volume("patches", key), two.read_volume("patches", key))


def test_what_they_take_is_estimated_and_cut(files):
    from extract.planning.config import ExtractSection

    def size(**options):
        given = {**HOW, "canvas": 448, "input": {"manifest": "v.csv"}, **options}
        section = ExtractSection.model_validate(given)
        plan = plan_extraction(section.input, files, section.preprocessing)
        return store_bytes(section, files, plan), plan.slices

    plain, slices = size(tokens=["patches"])
    more, _ = size()
    assert more - plain == slices * 2 * (4 * 128 + 2 * 32 * 32 * 128)
    header = example_header(("registers", "patches"), dim=1024, grid=(32, 32), slice_chunk=200)
    for spec in header.arrays:
        assert chunk_slices(header, spec) * item_bytes(spec) <= MAX_CHUNK_BYTES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": ["patches_l03"]}, "tokens: 3 is not a block before the last; .* 3, .*kept as `patches`"),
        ({"tokens": ["patches_l8"]}, r"tokens\.0: .*is expected, not 'patches_l8'"),
        ({"tokens": ["registers"], "backbone": {"kind": "untrained"}}, "this backbone has no registers"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_read(files, monkeypatch, changes, message):
    monkeypatch.chdir(files)
    with pytest.raises(ConfigError, match=message):
        sc.extract(store="c.zarr", input={"manifest": "v.csv"}, **{**HOW, **changes})
    assert not (files / "c.zarr").exists()


class Striped(torch.nn.Module):
    """A network of somebody else's with registers and an inner block."""

    dim, patch_size = 8, 14

    def __init__(self, registers=(3, 8), scale=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 8))
        self.shape, self.scale = registers, scale

    def forward(self, pixels):
        cut = torch.nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), 14)[:, 0, :, :, None] * self.weight
        lead = cut.flatten(1, 2)[:, : self.shape[0], : self.shape[1]]
        return {"patches": cut, "patches_l01": cut * self.scale, "registers": lead}


def test_a_custom_backbone_may_have_them():
    spec = {"kind": "custom", "target": Striped}
    found = built(spec, patch_layers=(1,))(torch.randn(2, 3, CANVAS, CANVAS))
    assert found.more["registers"].shape == (2, 3, 8)
    assert torch.equal(found.more["patches_l01"], found.patches)
    with pytest.raises(ConfigError, match="gives no patches_l02, which the pipeline asks for"):
        built(spec, patch_layers=(2,))
    with pytest.raises(ConfigError, match=r"gives registers of shape .* expected"):
        built(spec | {"options": {"registers": [3, 7]}})


def test_float16_is_refused_for_all_of_them_where_the_norm_could_pass_it(tmp_path):
    """Every block's tokens pass the one final norm, so that one bound holds for all of them."""
    from safetensors.torch import load_file, save_file

    folder = write_example(tmp_path / "b", gated=False, registers=True)
    weights = load_file(folder / "model.safetensors")
    weights["layernorm.weight"] = weights["layernorm.weight"] * 1e6
    save_file(weights, folder / "model.safetensors")
    loud = built({"kind": "dinov2", "path": folder}, patch_layers=(1,))
    with pytest.raises(ConfigError, match="beyond float16's 65504"):
        require_storable(loud, "float16")
