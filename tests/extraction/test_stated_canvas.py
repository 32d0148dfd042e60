"""`canvas: model`: what a checkpoint's own processor states, on every way to a store, as if spelt out."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
import transformers
import yaml
from saved_checkpoints import reference, saved

import slicecache
from cache_schema.common.errors import ConfigError
from cache_schema.store.reader import open_store
from extract.embedding import candidate_of_file, embed
from extract.planning.config import EmbeddingOptions
from extract.planning.stated import with_stated_canvas
from extract.slices.prepare import prepare_volume

GREY = {"intensity": {"kind": "window", "low": 0, "high": 255}, "slices": {"kind": "all"}}
CROPPED = {"size": {"shortest_edge": 64}, "crop_size": {"height": 48, "width": 32}, "resample": 3}
STRETCHED = {"size": {"height": 64, "width": 48}, "resample": 2}
SPELT = {"kind": "stretch", "pixels": [64, 48], "filter": "pillow-bilinear"}


def own_processor(name, **said):
    """Of `transformers` itself, in Pillow's arithmetic."""
    return (getattr(transformers, f"{name}Pil", None) or getattr(transformers, name))(**said)


@pytest.fixture
def cohort(tmp_path):
    """Two volumes of 8 bits, which no crop leaves an odd margin of, and a checkpoint without a statement."""
    for index, shape in enumerate([(42, 61, 5), (63, 50, 4)]):
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        values = np.random.default_rng(index).integers(1, 256, shape) * ((grid**2).sum(axis=0) < 2)
        nib.save(nib.Nifti1Image(values.astype(np.uint8), np.diag([3, 3, 3, 1])), tmp_path / f"{index}.nii")
    (tmp_path / "volumes.tsv").write_text("participant_id\tpath\n0\t0.nii\n1\t1.nii\n")
    shutil.copytree(saved("siglip"), tmp_path / "weights")
    return tmp_path


def slices_of(path):
    """Slices as they are shown, `(slice, row, column, 3)`: row 0 anterior, column 0 left."""
    data = np.asanyarray(nib.load(path).dataobj)
    return np.repeat(data[:, ::-1].transpose(2, 1, 0)[..., None], 3, axis=3)


def spelt(folder, capsys):
    """The canvas of the line that `backbone show` prints."""
    capsys.readouterr()
    assert command("backbone", "show", str(folder / "weights"), "--no-digest") == 0
    said = capsys.readouterr().out.partition("say canvas: ")[2].partition(", normalise")[0]
    return yaml.safe_load(said)


def pipeline(folder, store, **section):
    extract = {
        "input": {"manifest": "volumes.tsv"},
        "backbone": {"kind": "huggingface", "path": "weights"},
        "normalise": "model",
        "dtype": "float32",
        "engine": "torch",
        "workers": 0,
        **section,
    }
    file = folder / f"{store}.yaml"
    written = {"run": {"folder": f"run-{store}"}, "cache": {"store": f"{store}.zarr"}, "extract": extract}
    file.write_text(yaml.safe_dump(written))
    return str(file)


def command(*given):
    return slicecache.guarded(slicecache.cli.main, list(given))


@pytest.mark.parametrize(
    ("name", "said"),
    [("BitImageProcessor", CROPPED), ("ViTImageProcessor", STRETCHED), ("SiglipImageProcessor", STRETCHED)],
)
def test_the_network_gets_the_pixels_of_its_own_processor(cohort, name, said):
    processor = own_processor(name, **said)
    processor.save_pretrained(cohort / "weights")
    asked = EmbeddingOptions(
        backbone={"kind": "huggingface", "path": "weights"}, canvas="model", normalise="model", **GREY
    )
    asked = with_stated_canvas(asked, cohort)
    mean, std = (np.reshape(getattr(processor, f"image_{what}"), (3, 1, 1)) for what in ("mean", "std"))
    for file in ("0.nii", "1.nii"):
        made = prepare_volume(candidate_of_file(cohort / file, None), asked.preprocessing)
        ours = (made.images[:, None] / 255 - mean) / std
        theirs = processor(list(slices_of(cohort / file)), return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_tokens_are_those_of_plain_transformers(cohort):
    processor = own_processor("SiglipImageProcessor", **STRETCHED)
    processor.save_pretrained(cohort / "weights")
    given = {"kind": "huggingface", "path": str(cohort / "weights")}
    found = embed(
        cohort / "0.nii", backbone=given, canvas="model", normalise="model", tokens=["patches"], **GREY
    )
    pixels = processor(list(slices_of(cohort / "0.nii")), return_tensors="pt")["pixel_values"]
    _, answer = reference("siglip", pixels, 16)
    ours = torch.from_numpy(found["patches"]).flatten(1, 2)
    torch.testing.assert_close(ours, answer.last_hidden_state, atol=1e-5, rtol=0)


def test_siglip_2_is_fed_as_its_processor_feeds_it(cohort):
    """Patches, their mask and the grid: there with places to spare, which the mask takes out."""
    processor = own_processor("Siglip2ImageProcessor", patch_size=16, max_num_patches=14)
    theirs = processor(list(slices_of(cohort / "0.nii")), return_tensors="pt")
    rows, cols = theirs["spatial_shapes"][0].tolist()
    assert rows * cols < 14, "nothing is padded, and the mask not looked at"
    folder = shutil.copytree(saved("siglip2"), cohort / "naflex")
    processor.save_pretrained(folder)
    canvas = {"kind": "stretch", "pixels": [16 * rows, 16 * cols], "filter": "pillow-bilinear"}
    found = embed(
        cohort / "0.nii",
        backbone={"kind": "huggingface", "path": str(folder)},
        canvas=canvas,
        normalise="model",
        tokens=["patches"],
        **GREY,
    )
    with torch.inference_mode():
        network = transformers.Siglip2VisionModel.from_pretrained(folder, attn_implementation="eager").eval()
        answer = network(
            **{key: theirs[key] for key in ("pixel_values", "pixel_attention_mask", "spatial_shapes")}
        )
    expected = answer.last_hidden_state[:, : rows * cols]
    ours = torch.from_numpy(found["patches"]).flatten(1, 2)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_a_store_is_the_one_of_the_printed_line(cohort, capsys):
    own_processor("BitImageProcessor", **CROPPED).save_pretrained(cohort / "weights")
    canvas = spelt(cohort, capsys)
    assert canvas == {"kind": "crop", "resize": 64, "pixels": [48, 32], "filter": "pillow-bicubic"}
    by_word, by_line = (
        pipeline(cohort, name, canvas=said) for name, said in (("word", "model"), ("line", canvas))
    )
    assert command("plan", by_word) == 0
    assert not (cohort / "word.zarr").exists()
    assert command("extract", by_word) == command("extract", by_line) == 0
    word, line = (open_store(str(cohort / f"{name}.zarr")) for name in ("word", "line"))
    assert word.header.fingerprint == line.header.fingerprint
    assert word.content_digest() == line.content_digest()
    assert word.header.created["configuration"]["canvas"] == canvas
    # Either goes on where the other was: the statement is read again, and is the header's.
    capsys.readouterr()
    assert command("extract", by_line, "--set", "cache.store=word.zarr", "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 2
    assert command("extract", by_word, "--set", "cache.store=line.zarr", "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 2
    assert command("recompute", str(cohort / "word.zarr"), "--slices", "2") == 0


def test_several_stores_and_shares_of_a_kept_plan(cohort):
    own_processor("ViTImageProcessor", **STRETCHED).save_pretrained(cohort / "weights")
    stores = {"own": {"canvas": "model"}, "same": {"canvas": SPELT}}
    file = pipeline(cohort, "two", canvas=32, stores=stores)
    assert command("plan", file, "--create") == 0
    assert [command("extract", file, "--shard", f"{share}/2") for share in (0, 1)] == [0, 0]
    own, same = (open_store(str(cohort / f"{name}.zarr")) for name in ("two", "two-same"))
    assert len(own.entries) == 2
    assert (own.header.fingerprint, own.content_digest()) == (same.header.fingerprint, same.content_digest())


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (None, "does not: set extract.canvas"),
        ({"max_num_patches": 256, "resample": 2}, "another size, of at most 256 patches: set extract.canvas"),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3},
            "states no one size of 14 pixels or more",
        ),
        ({"size": 224, "crop_pct": 0.875, "resample": 3}, "by a rule of its own (crop_pct 0.875)"),
        ({"size": 224, "resample": 1}, "interpolation is lanczos, and bilinear and bicubic"),
        ({"size": 224}, "interpolation is not said"),
        ({"size": 224, "resample": 2, "do_resize": False}, "it resizes nothing"),
        (
            {"size": {"shortest_edge": 32}, "crop_size": 64, "do_center_crop": True, "resample": 2},
            "its crop of 64 x 64",
        ),
        ({"size": 8, "resample": 2}, "(its size is 8)"),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "extract"])
def test_what_cannot_be_fed_is_one_sentence(cohort, capsys, verb, stated, says):
    if stated is not None:
        text = json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **stated})
        (cohort / "weights" / "preprocessor_config.json").write_text(text)
    assert command(verb, pipeline(cohort, "c", canvas="model")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert not (cohort / "c.zarr").exists()


def test_a_backbone_without_a_checkpoint_states_nothing():
    options = EmbeddingOptions(backbone={"kind": "untrained"}, canvas="model")
    with pytest.raises(
        ConfigError, match=r"canvas: model needs a backbone whose checkpoint states its input"
    ):
        embed("absent.nii", backbone={"kind": "untrained"}, canvas="model")
    with pytest.raises(ConfigError, match=r"canvas: model is resolved by the backbone's checkpoint"):
        _ = options.preprocessing


def test_a_plan_fetches_no_weights_for_it(cohort, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cohort / "hub"))
    absent = {"kind": "huggingface", "repository": "lab/absent"}
    assert command("plan", pipeline(cohort, "c", canvas="model", backbone=absent)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert (
        "canvas: model stands in the checkpoint, and the backbone 'lab/absent' is not on this machine" in line
    )
    assert "slicecache backbone fetch huggingface/lab/absent" in line
