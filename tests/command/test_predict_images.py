"""`predict` on images: embedded as the bundle's training was, resumed, refused before the first is read."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file, save_file
from saved_checkpoints import saved

import slicecache as sc
from aggregate.predict.bundle_files import CARD_FILE
from cache_schema.common.errors import ConfigError, StoreMismatch
from cache_schema.common.pipeline_file import validate
from cache_schema.format.header import BackboneIdentity, Fingerprint, Numerics
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.wanted import WantedStore, making_of
from extract.backbones.dinov2 import write_example
from extract.planning.config import ExtractSection
from extract.planning.like import section_like
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import PRESETS, preprocessing_of
from extract.sources.given import input_of

SHAPE = (31, 37, 23)
PEOPLE = 12
TINY = {"backbone": {"kind": "untrained", "size": "tiny"}}


def write_volume(path: Path, seed: int, sick: bool = False, shape=SHAPE) -> Path:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    noise = np.random.default_rng(seed).uniform(50, 200, shape)
    values = np.where((grid**2).sum(axis=0) < 0.6, noise, 0)
    if sick:
        values[12:20, 14:22, 8:14] = 20
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([5.0, 5, 5, 1])), path)
    return path


def write_tree(root: Path, people, first: int = 0) -> Path:
    for index in people:
        name = f"sub-{index:02}"
        write_volume(root / name / "anat" / f"{name}_T1w.nii.gz", first + index, index % 2 == 1)
    return root


def command(*arguments) -> int:
    return sc.guarded(sc.cli.main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A cohort, its store, a bundle of heads and one of detectors, on a checkpoint in a folder."""
    folder = tmp_path_factory.mktemp("trained")
    write_tree(folder / "bids", range(PEOPLE))
    write_example(folder / "weights", gated=False, registers=True)
    rows = [f"sub-{index:02}\t{'patient' if index % 2 else 'control'}" for index in range(PEOPLE)]
    (folder / "people.tsv").write_text("\n".join(["participant_id\tdx", *rows]) + "\n")
    detect = {
        "reference": {"column": "dx", "value": "control"},
        "detectors": [{"kind": "mahalanobis", "shrinkage": 0.1}],
        "split": {"fit": 0.5, "calibration": 0.25, "test": 0.25},
        "maps": "none",
    }
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": {
            "input": {"bids": "bids"},
            "preset": "dinoatten3d",
            "canvas": 56,
            "field_mm": 180,
            "slices": {"kind": "every", "step_mm": 15},
            "backbone": {"kind": "dinov2", "path": "weights"},
            "tokens": ["patch_mean", "patches"],
            "layers": [2],
            "workers": 0,
        },
        "aggregate": {
            "cohort": "people.tsv",
            "target": "dx",
            "tokens": ["cls_l02", "patch_mean"],
            "train": {"epochs": 2},
            "folds": {"n": 2},
            "baselines": ["mean_pool_logistic"],
            "detect": detect,
        },
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    sc.extract(str(folder / "pipeline.yaml"), folder=folder / "run")
    sc.train(str(folder / "pipeline.yaml"), folder=folder / "run")
    sc.detect(str(folder / "pipeline.yaml"), folder=folder / "run")
    return folder


def copy_of(bundle: Path, to: Path, **changes) -> Path:
    """A bundle whose card says something else."""
    to.mkdir()
    for file in bundle.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    card = json.loads((to / CARD_FILE).read_bytes())
    (to / CARD_FILE).write_text(json.dumps({**card, **changes}))
    return to


def test_images_get_what_their_store_gets(trained, tmp_path, capsys):
    """The same people again, from a copy of the images: the same numbers as from training's own store."""
    out = tmp_path / "p.csv"
    assert command("predict", trained / "run/train", "--images", trained / "bids", "--out", out) == 0
    said = capsys.readouterr()
    assert "12 volumes embedded" in said.err
    assert str(tmp_path / "p-images" / "cache.zarr") in said.err
    found, told = pd.read_csv(out), sc.predict(trained / "run/train", trained / "run/cache.zarr")
    np.testing.assert_allclose(found["logit_patient"], told["logit_patient"], atol=1e-6)
    made, trained_on = (
        open_store(place) for place in (tmp_path / "p-images/cache.zarr", trained / "run/cache.zarr")
    )
    assert made.header.fingerprint == trained_on.header.fingerprint
    assert made.header.numerics == trained_on.header.numerics
    assert [spec.name for spec in made.header.arrays] == ["cls", "patch_mean", "cls_l02"]  # and no patches
    assert command("predict", trained / "run/train", "--images", trained / "bids", "--out", out) == 0
    assert "0 volumes embedded, 12 already there" in capsys.readouterr().err


def test_failures_are_listed_and_the_rest_is_predicted_for(trained, tmp_path, capsys):
    new = write_tree(tmp_path / "new", (20, 21), first=100)
    (new / "sub-22/anat").mkdir(parents=True)
    (new / "sub-22/anat/sub-22_T1w.nii.gz").write_bytes(b"no image")
    store = tmp_path / "kept" / "new.zarr"
    store.parent.mkdir()
    given = ("predict", trained / "run/train", store, "--images", new, "--json")
    assert command(*given) == 1
    found = json.loads(capsys.readouterr().out)
    assert [row["participant_id"] for row in found["predictions"]] == ["sub-20", "sub-21"]
    assert [row["participant_id"] for row in found["left_out"]] == ["sub-22"]
    assert found["extract"]["embedded"] == 2
    table = (tmp_path / "kept/new-images/failures.tsv").read_text()
    assert table.count("\n") == 2
    assert "sub-22\t\tT1w\tsub-22/anat/sub-22_T1w.nii.gz\t" in table
    write_volume(new / "sub-22/anat/sub-22_T1w.nii.gz", 7)
    assert command(*given) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 3


def test_evaluate_on_images_is_evaluate_on_their_store(trained, tmp_path, capsys):
    new = write_tree(tmp_path / "new", range(20, 26), first=100)
    table = tmp_path / "new.tsv"
    given = ("evaluate", trained / "run/train", "--cohort", table, "--run", tmp_path / "here", "--json")
    images = (*given, "--images", new, "--set", "extract.workers=0")
    table.write_text("participant_id\tdiagnosis\nsub-20\tcontrol\n")
    assert command(*images) == 2  # before anything is embedded
    assert "'dx'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.zarr"))
    rows = [f"sub-{index}\t{'patient' if index % 2 else 'control'}" for index in range(20, 26)]
    table.write_text("\n".join(["participant_id\tdx", *rows]) + "\n")
    assert command(*images) == 0
    found, store = json.loads(capsys.readouterr().out), tmp_path / "here/evaluate-images/cache.zarr"
    assert found.pop("extract")["embedded"] == 6
    assert command(*given, "--store", store) == 0
    assert json.loads(capsys.readouterr().out) == found
    (new / "sub-25/anat/sub-25_T1w.nii.gz").write_bytes(b"no image")
    assert command(*given, "--images", new, "--store", tmp_path / "less.zarr") == 1
    less = json.loads(capsys.readouterr().out)
    assert (less["extract"]["failed"], found["n_participants"] - less["n_participants"]) == (1, 1)
    again = sc.evaluate(trained / "run/train", sc.Images(new, store, workers=0), table)
    assert again.metrics["metrics"]["auroc"] == less["metrics"]["auroc"]
    sc.extract(store=tmp_path / "tiny.zarr", input={"bids": str(new)}, canvas=28, workers=0, **TINY)
    with pytest.raises(StoreMismatch, match="made otherwise"):
        sc.evaluate(trained / "run/train", sc.Images(new, tmp_path / "tiny.zarr"), table)


@pytest.mark.parametrize("words", [(), ("--store", "x", "--set", "extract.workers=0"), ("--backbone", "x")])
def test_evaluate_takes_a_store_or_images(trained, tmp_path, capsys, words):
    assert command("evaluate", trained / "run/train", "--cohort", "x.csv", *words) == 2
    assert "evaluate takes --store STORE, or --images PATH" in capsys.readouterr().err


def test_single_files_and_manifests_are_answered_for_alone(trained, tmp_path, monkeypatch, capsys):
    """A store that has more does not answer for more."""
    monkeypatch.chdir(tmp_path)
    first = write_volume(tmp_path / "scan one.nii.gz", 5)
    second = write_volume(tmp_path / "sub-77_ses-2_T1w.nii", 6)
    assert command("predict", trained / "run/train", "--images", first.name, "--images", second.name) == 0
    assert [line.split(",")[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["scan one", "", "scan one"],
        ["sub-77", "ses-2", "T1w"],
    ]
    (tmp_path / "list.tsv").write_text("PTID\tpath\nX1\tscan one.nii.gz\n")
    words = ("--images", "list.tsv", "--set", "input.columns.participant=PTID", "--set", "workers=0")
    assert command("predict", trained / "run/train", "predict-images/cache.zarr", *words) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["X1"]
    assert len(open_store("predict-images/cache.zarr").entries) == 3
    folder = tmp_path / "flat"
    write_volume(folder / "a.nii", 8)
    found = sc.predict(trained / "run/train", sc.Images(folder, "predict-images/cache.zarr", workers=0))
    assert list(found["participant_id"]) == ["a"]


def test_what_a_manifest_lacks_is_said_as_it_is_typed(trained, tmp_path, capsys):
    """The hint names all columns at once, and works when it is copied."""
    write_volume(tmp_path / "one.nii.gz", 5)
    (tmp_path / "list.csv").write_text("PTID,Visit no,file\nX1,a,one.nii.gz\n")
    given = ("predict", trained / "run/train", tmp_path / "m.zarr", "--images", tmp_path / "list.csv")
    assert command(*given) == 2
    hint = re.search(r'--set "(.*)"', capsys.readouterr().err).group(1)
    assert hint == "extract.input.columns={participant: PTID, path: file}"
    visit = ("--set", "input.columns.session=Visit no")
    assert command(*given, *visit) == 2
    hint = re.search(r'--set "(.*)"', capsys.readouterr().err).group(1)
    assert hint == "extract.input.columns={session: Visit no, participant: PTID, path: file}"
    assert command(*given, "--set", hint, "--set", "workers=0") == 0
    assert "X1,ses-a," in capsys.readouterr().out.replace("X1,a,", "X1,ses-a,")


def test_a_scan_of_the_training_under_another_name_is_known(trained, tmp_path, capsys, caplog):
    """By the command: members that did not see it speak, and a detector that was fitted on it is silent."""
    scan, place = tmp_path / "IMG_1000.nii.gz", trained / "bids/sub-03/anat/sub-03_T1w.nii.gz"
    scan.write_bytes(place.read_bytes())
    out = tmp_path / "one.csv"
    assert command("predict", trained / "run/train", "--images", scan, "--out", out) == 0
    assert "1 volume -> " in capsys.readouterr().out
    told = "1 volume is that of training participant sub-03 by its content: "
    assert f"{told}scored by the members that did not see them" in caplog.text
    own = sc.predict(trained / "run/train", trained / "run/cache.zarr").set_index("participant_id")
    (found,) = pd.read_csv(out).to_dict("records")
    assert (found["participant_id"], found["members"]) == ("IMG_1000", own["members"]["sub-03"])
    np.testing.assert_allclose(found["logit_patient"], own["logit_patient"]["sub-03"], atol=1e-6)
    card = json.loads((trained / "run/detect/bundle" / CARD_FILE).read_bytes())
    fitted, two = card["participants"]["fit"][0], tmp_path / "two.csv"
    scan.write_bytes((trained / f"bids/{fitted}/anat/{fitted}_T1w.nii.gz").read_bytes())
    assert command("predict", trained / "run/detect", "--images", scan, "--out", two) == 0
    assert f"1 volume is that of training participant {fitted} by its content" in capsys.readouterr().err
    (found,) = pd.read_csv(two).to_dict("records")
    assert found["part"] == "fit"
    assert np.isnan(found["score"])


def test_detectors_map_images_in_their_own_space(trained, tmp_path, capsys):
    new = write_tree(tmp_path / "new", (30,), first=200)
    maps = tmp_path / "maps"
    words = ("--images", new, "--maps", maps, "--allow-unlike-reference")
    assert command("predict", trained / "run/detect", *words) == 0
    assert "sub-30" in capsys.readouterr().out
    (written,) = maps.rglob("*.nii.gz")
    image, scan = nib.load(written), nib.load(new / "sub-30/anat/sub-30_T1w.nii.gz")
    assert image.shape == scan.shape
    np.testing.assert_array_equal(image.affine, scan.affine)
    assert (tmp_path / "maps-images/cache.zarr").is_dir()
    assert {spec.name for spec in open_store(tmp_path / "maps-images/cache.zarr").header.arrays} >= {
        "patches"
    }


def test_other_weights_are_refused_before_anything_is_embedded(trained, tmp_path):
    other = write_example(tmp_path / "other", gated=False, registers=True)
    weights = load_file(other / "model.safetensors")
    weights["layernorm.bias"] += 1
    save_file(weights, other / "model.safetensors")
    images = sc.Images(trained / "bids", tmp_path / "new.zarr", backbone=other)
    with pytest.raises(
        StoreMismatch, match=r"weights_sha256 is '[0-9a-f]{64}' here and '[0-9a-f]{64}' there"
    ):
        sc.predict(trained / "run/train", images)
    assert not (tmp_path / "new.zarr").exists()
    keys = {"input": {"bids": str(trained / "bids")}, "backbone": {"kind": "untrained"}, "workers": 0}
    sc.extract(store=tmp_path / "tiny.zarr", canvas=28, **keys)
    with pytest.raises(StoreMismatch, match="made otherwise"):
        sc.predict(trained / "run/train", sc.Images(trained / "bids", tmp_path / "tiny.zarr"))


def test_steps_that_are_set_otherwise_are_refused(trained, tmp_path, capsys):
    words = ("--images", trained / "bids", "--set", "intensity={kind: percentile, low: 2}")
    assert command("predict", trained / "run/train", tmp_path / "x.zarr", *words) == 2
    assert "preprocessing[intensity]" in capsys.readouterr().err
    assert not (tmp_path / "x.zarr").exists()


def test_weights_that_are_gone_are_asked_for(trained, tmp_path):
    made = json.loads((trained / "run/train/bundle" / CARD_FILE).read_bytes())["making"]
    assert made == {
        "backbone": {"kind": "dinov2", "size": "small", "registers": False, "path": "weights"},
        "folder": str(trained),
        "input": {"suffix": ["T1w"]},
    }
    bundle = copy_of(trained / "run/train/bundle", tmp_path / "gone", making={**made, "folder": "/nowhere"})
    with pytest.raises(
        ConfigError, match=r"no folder '/nowhere/weights'; or give the checkpoint with --backbone"
    ):
        sc.predict(bundle, sc.Images(trained / "bids", tmp_path / "x.zarr"))
    there = sc.Images(trained / "bids", tmp_path / "x.zarr", backbone=trained / "weights", workers=0)
    assert len(sc.predict(bundle, there)) == PEOPLE


def test_bundles_of_version_1_find_what_they_were_made_with(tmp_path):
    """The archive's bundles say nothing of their making; their seed stands in the fingerprint."""
    archive = Path(__file__).parents[1] / "data" / "v1"
    images = sc.Images(archive / "images", tmp_path / "new.zarr", workers=0, device="cpu")
    found = sc.predict(archive / "train", images)
    told = sc.predict(archive / "train", archive / "sealed.zarr")
    assert list(found["participant_id"]) == list(told["participant_id"])
    np.testing.assert_allclose(found["logit_patient"], told["logit_patient"], atol=2e-2)
    assert images.failed == 1


@pytest.mark.parametrize("plane", ["axial", "coronal"])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_is_found_again_by_its_steps(preset, plane):
    asked = {} if plane == "axial" else {"plane": plane, "orient": {"to": "ras"}}
    overrides = validate(StepOverrides, {**asked, "slices": {"kind": "uniform", "n": 7}}, "x")
    made = preprocessing_of(preset, overrides).for_backbone(((0.5,) * 3, (0.25,) * 3))
    identity = {"architecture": {"kind": "untrained"}, "weights_sha256": "0" * 64, "position_table": "none"}
    fingerprint = Fingerprint(
        backbone=BackboneIdentity(**identity),
        plane=made.plane,
        preprocessing=made.fingerprint_steps(),
        slices=made.fingerprint_slices(),
    )
    numerics = Numerics(compute_dtype="float32", storage_dtype="float16", resize_backend="pillow")
    section = section_like(WantedStore(fingerprint, numerics, ("cls", "patches_l02")))
    again = validate(ExtractSection, {**section, "input": {"bids": "x"}}, "x").preprocessing
    assert again.fingerprint_steps() == made.fingerprint_steps()
    assert (again.slices, again.plane) == (made.slices, plane)
    assert section["tokens"] == ["cls", "patches_l02"]


def test_a_bundle_that_names_code_runs_none(trained, tmp_path):
    making = {"backbone": {"kind": "custom", "target": "os:getcwd"}}
    odd = copy_of(trained / "run/train/bundle", tmp_path / "odd", making=making)
    with pytest.raises(ConfigError, match="would run code from outside"):
        sc.predict(odd, sc.Images(trained / "bids", tmp_path / "x.zarr", workers=0))


def test_a_bundle_of_before_says_what_its_architecture_does(trained, tmp_path):
    old = copy_of(trained / "run/train/bundle", tmp_path / "old", making={})
    with pytest.raises(ConfigError, match=r"does not say where its backbone \(of kind 'dinov2'\) came from"):
        sc.predict(old, sc.Images(trained / "bids", tmp_path / "x.zarr"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "predict takes a STORE, or --images PATH"),
        (("x.zarr", "--set", "workers=0"), "--backbone and --set are for --images"),
        (("--images", "absent"), "there are no images at"),
        (("--images", "a.nii", "--images", "empty"), "is one of 2 places"),
        (("--images", "empty"), "is no BIDS root"),
        (("--images", "a.nii", "--images", "./a.nii"), "named 2 times"),
        (("--images", "a.nii", "--set", "nonsense"), "--set takes NAME=VALUE"),
        (("--images", "a.nii", "--maps", "m"), "--maps is for a bundle of detectors"),
    ],
)
def test_what_cannot_be_meant(trained, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.nii").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert command("predict", trained / "run/train", *words) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.zarr"))


def test_what_lies_there_says_which_input_it_is(tmp_path):
    (tmp_path / "tree/sub-1").mkdir(parents=True)
    filters = {"suffix": ["FLAIR"]}
    assert input_of(tmp_path / "tree", filters) == {"bids": str(tmp_path / "tree"), **filters}
    (tmp_path / "t.CSV").touch()
    assert input_of([tmp_path / "t.CSV"], filters) == {"manifest": str(tmp_path / "t.CSV")}
    (tmp_path / "a.mgz").touch()
    assert input_of(tmp_path) == {"files": [str(tmp_path / "a.mgz")]}


def test_odd_files_fail_one_by_one(trained, tmp_path, shared_data, capsys):
    """None of them ends the others, and none is answered for that could not be read."""
    odd = sorted(path for path in (shared_data / "odd").rglob("*") if path.name.endswith((".nii", ".nii.gz")))
    good = write_volume(tmp_path / "good.nii.gz", 3)
    words = [word for path in (*odd, good) for word in ("--images", path)]
    assert command("predict", trained / "run/train", tmp_path / "odd.zarr", *words, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    failed = {row["participant_id"] for row in found["extract"]["failures"]}
    answered = {row["participant_id"] for row in found["predictions"]}
    assert "good" in answered
    assert not failed & answered
    assert len(failed) + len(answered) == len(odd) + 1
    assert len(failed) > 5
    assert all(np.isfinite(row["logit_patient"]) for row in found["predictions"])


def test_a_part_of_a_store_is_read_as_if_it_were_all(trained, tmp_path):
    whole = open_store(trained / "run/cache.zarr")
    two = frozenset(VolumeKey(f"sub-{index:02}", "", "T1w") for index in (3, 5, 99))
    for _ in range(2):  # sealed the second time
        part = open_store(whole.location, only=two)
        assert [entry.key.participant_id for entry in part.entries] == ["sub-03", "sub-05"]
        assert [record.key for record in part.records()] == [entry.key for entry in part.entries]
        assert {row.key for row in part.table()} == {entry.key for entry in part.entries}
        np.testing.assert_array_equal(part.read("cls")[0], whole.read("cls", [whole.entries[3]])[0])
        seal(whole.location)


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_stopped_at_any_time_it_goes_on(trained, tmp_path, how):
    new = write_tree(tmp_path / "new", range(40, 52), first=300)
    script = Path(__file__).parents[2] / "slicecache.py"
    out, store = tmp_path / "p.csv", tmp_path / "p-images" / "cache.zarr"
    given = [sys.executable, script, "predict", trained / "run/train", "--images", new, "--out", out]
    process = subprocess.Popen(given, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    for _ in range(600):
        if list(store.glob("records/*/*.json")) or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(how)
    process.communicate()
    assert process.returncode in (130, -signal.SIGKILL, -signal.SIGINT)
    assert not out.exists()
    done = len(list(store.glob("records/*/*.json")))
    assert 0 < done < 12
    images = sc.Images(new, store, folder=tmp_path / "p-images", workers=0)
    assert len(sc.predict(trained / "run/train", images)) == 12
    assert images.outcome.skipped >= done


@pytest.mark.parametrize("name", ["siglip2", "dinov3"])
def test_networks_of_transformers_are_found_again(trained, tmp_path, name):
    """With CLS and without: the same store from what another says of its making."""
    keys = {"backbone": {"kind": "huggingface", "path": str(saved(name))}, "normalise": "none", "canvas": 64}
    keys |= {"slices": {"kind": "uniform", "n": 3}, "tokens": ["patch_mean"], "workers": 0}
    first = sc.extract(store=tmp_path / "a.zarr", input={"bids": str(trained / "bids")}, **keys)
    header = open_store(first.store).header
    arrays = tuple(spec.name for spec in header.arrays)
    wanted = WantedStore(header.fingerprint, header.numerics, arrays, making_of(header))
    made = sc.Images(trained / "bids", tmp_path / "b.zarr", workers=0).store_for(wanted)
    assert made.content_digest() == first.content_digest
    assert made.header.fingerprint == header.fingerprint
