"""`slicecache explain RUN`: a trained run to its folder, on every kind of target, and what it refuses."""

import html.parser
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from made_up_store import example_arrays, example_draft, example_header, example_row
from torch import nn

import slicecache
from aggregate.explain.maps import slice_map
from aggregate.predict.bundle import load_bundle
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter

LOOKS_AT_FIGURES = True

N, DIM = 30, 6


class Peak(nn.Module):
    """Somebody's head: the mean and the highest of every number, and no attention."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x, keep, height_mm):
        kept = keep.unsqueeze(2)
        mean = (x * kept).sum(1) / kept.sum(1)
        return torch.cat([mean * self.scale, x.masked_fill(~kept, -1e4).amax(1)], 1), None


def write_study(folder: Path, **section: Any) -> Path:
    """A store in which patients have one raised slice, its table, and a pipeline."""
    header = example_header(("cls", "cls_attention"), dim=DIM, slice_chunk=9)
    keys = [VolumeKey(f"sub-{i:02d}", "", "T1w") for i in range(N)]
    writer = StoreWriter.open(str(folder / "a.zarr"), header, [example_row(key, 13) for key in keys])
    rows = ["participant_id\tdiagnosis\tgroup\tage"]
    for number, key in enumerate(keys):
        stream, length = np.random.default_rng([3, number]), 9 + number % 5
        tokens = stream.normal(size=(length, DIM)).astype(np.float32)
        raised = int(stream.integers(length))
        tokens[raised, number % 3 if "group" in str(section) else 0] += 6 * (number % 2)
        drawn = {name: np.abs(value) for name, value in example_arrays(header, length, number).items()}
        writer.commit(example_draft(key, length), {**drawn, "cls": tokens})
        words = ("control", "patient")[number % 2]
        rows.append(
            f"{key.participant_id}\t{words}\t{'abc'[number % 3]}\t{50 + 9 * (number % 2) + number / 9}"
        )
    (folder / "a.tsv").write_text("\n".join(rows) + "\n")
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "a.zarr"},
        "aggregate": {
            "cohort": "a.tsv",
            "target": "diagnosis",
            "train": {"epochs": 8},
            "folds": {"n": 3},
            "baselines": [],
            **section,
        },
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return folder / "pipeline.yaml"


def run(*words: str | Path) -> int:
    return slicecache.guarded(slicecache.cli.main, [str(word) for word in words])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    assert run("train", write_study(folder)) == 0
    return folder


@pytest.fixture
def fresh(trained: Path, tmp_path: Path) -> Path:
    """A copy to explain in; its configuration names store and table where they were."""
    shutil.copytree(trained / "run" / "train", tmp_path / "run" / "train")
    return tmp_path / "run"


def test_its_kit_is_made_again_and_says_what_was_found(fresh: Path, capsys) -> None:
    assert run("explain", fresh, "--no-maps", "--method", "leave_out", "--method", "gradients") == 0
    folder = fresh / "explain"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in ("report.html", "methods.md", "references.bib", "figures/height_leave_out.svg"):
        (folder / name).unlink()
    shutil.rmtree(folder / "tables")
    capsys.readouterr()
    assert run("report", folder) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == str(fresh / "index.html")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    text = " ".join((folder / "methods.md").read_text().split())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "integrated gradients [@sundararajan2017axiomatic; @kokhlikyan2020captum]" in text
    assert f"{metrics['n_participants']} participants out of fold" in text
    for found in metrics["methods"].values():
        assert f"{found['verdict']}, deletion area {found['deletion']['own']:.2f}".replace("-", "−") in text
    assert {path.name for path in (folder / "tables").iterdir()} == {
        f"{name}.{kind}" for name in ("areas", "controls") for kind in ("tex", "csv")
    }
    metrics["methods"]["leave_out"]["deletion"]["own"] = 77.25
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert run("report", fresh) == 0
    assert "deletion area 77.25 against" in (folder / "methods.md").read_text()


@pytest.mark.slow
def test_the_folder_holds_all_and_nothing_else_is_touched(fresh: Path, capsys) -> None:
    before = {path: path.read_bytes() for path in (fresh / "train").rglob("*") if path.is_file()}
    assert run("explain", fresh) == 0
    said = capsys.readouterr().out
    folder = fresh / "explain"
    assert {path.name for path in folder.iterdir()} == {
        *("attention.csv", "methods.csv", "metrics.json", "report.html"),
        *("figures", "maps", "config.yaml", "log.txt"),
        *("methods.md", "references.bib", "tables", "report.json", "requirements.lock"),
    }
    methods = ("typical", "leave_out", "leave_out_12mm", "gradients", "attention")
    drawn = {path.name for path in (folder / "figures").iterdir()}
    assert drawn >= {f"height_{name}.{kind}" for name in methods for kind in ("svg", "pdf", "csv")}
    assert drawn >= {"deletion.csv", "insertion.csv", "deletion_typical.svg"}
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in fresh.iterdir()} == {"train", "explain", "index.html"}
    html.parser.HTMLParser().feed((folder / "report.html").read_text())
    assert "slice against the typical one" in said
    assert "Explanation" in (fresh / "index.html").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    for found in metrics["methods"].values():
        assert f"{found['words']}: {found['verdict']}" in (folder / "report.html").read_text()


def test_a_row_is_a_slice_seen_by_a_member_that_did_not_see_the_participant(
    fresh: Path, trained: Path
) -> None:
    assert run("explain", fresh, "--no-maps", "--method", "leave_out", "--method", "attention") == 0
    table = pd.read_csv(fresh / "explain" / "attention.csv", keep_default_na=False)
    assert list(table) == [
        *("participant_id", "session_id", "volume_id", "slice_index", "height_mm", "label", "evidence_of"),
        *("repeat", "fold", "seed", "leave_out", "attention"),
    ]
    store, bundle = open_store(str(trained / "a.zarr")), load_bundle(fresh / "train" / "bundle")
    members = {(one.repeat, one.fold, one.seed): one for one in bundle.card.members}
    for name, rows in table.groupby("participant_id"):
        record = store.record(VolumeKey(str(name), "", "T1w"))
        assert tuple(rows["slice_index"]) == record.slices.index
        assert tuple(rows["height_mm"]) == record.slices.height_mm
        assert rows["attention"].sum() == pytest.approx(1)
        (place,) = {tuple(row) for row in rows[["repeat", "fold", "seed"]].to_numpy().tolist()}
        assert name not in members[place].participants
    assert table["participant_id"].nunique() == N
    assert not (fresh / "explain" / "maps").exists()


@pytest.mark.slow
def test_json_alone_and_the_same_bytes_again(fresh: Path, capsys) -> None:
    words = ("explain", fresh, "--method", "leave_out", "--json", "--no-maps")
    assert run(*words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((fresh / "explain" / "metrics.json").read_text())
    assert found["methods"]["leave_out"]["against"].keys() == {
        *("centre_gaussian", "random_head", "another_participant"),
    }
    first = {name: (fresh / "explain" / name).read_bytes() for name in ("attention.csv", "methods.csv")}
    assert run(*words) == 0
    assert {name: (fresh / "explain" / name).read_bytes() for name in first} == first


@pytest.mark.slow
def test_maps_lie_on_the_slices_that_they_are_of(fresh: Path, trained: Path) -> None:
    assert run("explain", fresh, "--method", "leave_out", "--method", "attention") == 0
    table = pd.read_csv(fresh / "explain" / "attention.csv")
    store = open_store(str(trained / "a.zarr"))
    folder = fresh / "explain" / "maps" / "sub-04" / "anat"
    record = store.record(VolumeKey("sub-04", "", "T1w"))
    image = nibabel.load(folder / "sub-04_mod-T1w_desc-leaveout_slicemap.nii.gz")
    own = table[table["participant_id"] == "sub-04"]
    voxels = np.asarray(image.dataobj)
    assert voxels.shape == record.geometry.native_shape
    np.testing.assert_array_equal(image.affine, np.array(record.geometry.affine))
    np.testing.assert_allclose(voxels[5, 5, own["slice_index"]], own["leave_out"], rtol=1e-6)
    others = np.setdiff1d(np.arange(voxels.shape[2]), own["slice_index"])
    assert not voxels[:, :, others].any()
    salient = nibabel.load(folder / "sub-04_mod-T1w_desc-saliency_slicemap.nii.gz")
    assert np.asarray(salient.dataobj).any()
    says = json.loads((fresh / "explain" / "maps" / "desc-leaveout_slicemap.json").read_text())
    assert says["Verdict"] in ("not interpretable", "beats its controls")
    assert slice_map(np.zeros(len(own)), record).shape == record.geometry.native_shape


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "evidence"),
    [
        ({"target": "group"}, ["a", "b", "c"]),
        ({"target": {"column": "age", "task": "regression"}}, ["higher age"]),
        (
            {"target": {"column": "group", "task": "ordinal", "classes": {c: [c] for c in "abc"}}},
            ["higher group"],
        ),
        ({"head": {"kind": "mean"}, "folds": {"n": 3, "repeats": 2}, "seeds": 2}, ["patient"]),
    ],
    ids=["classes", "number", "ordered", "repeats"],
)
def test_every_kind_of_target(tmp_path: Path, section, evidence) -> None:
    assert run("train", write_study(tmp_path, **section)) == 0
    assert run("explain", tmp_path / "run", "--no-maps") == 0
    metrics = json.loads((tmp_path / "run" / "explain" / "metrics.json").read_text())
    assert metrics["evidence_of"] == evidence
    table = pd.read_csv(tmp_path / "run" / "explain" / "attention.csv")
    members = 4 if "seeds" in section else 1
    slices = sum(9 + number % 5 for number in range(N))
    assert len(table) == slices * len(evidence) * members
    assert table.drop(columns="session_id").notna().all().all()
    if members > 1:
        assert set(metrics["methods"]["leave_out"]["stability"]) == {"folds", "seeds"}
        assert "attention" in metrics["left_out_methods"]  # of a mean it is even
        assert "attention" not in table


@pytest.mark.slow
def test_somebody_elses_head_has_all_but_attention(tmp_path: Path, capsys) -> None:
    head = {"kind": "custom", "target": f"{__name__}:Peak", "stacking": "loop"}
    slicecache_file = write_study(tmp_path, head=head)
    from cache_schema.common.custom import give

    target = give(Peak)
    slicecache_file.write_text(slicecache_file.read_text().replace(f"{__name__}:Peak", target))
    assert run("train", slicecache_file) == 0
    assert run("explain", tmp_path / "run", "--no-maps") == 0
    metrics = json.loads((tmp_path / "run" / "explain" / "metrics.json").read_text())
    assert set(metrics["methods"]) == {"typical", "leave_out", "leave_out_12mm", "gradients"}
    assert "no attention" in metrics["left_out_methods"]["attention"]
    assert run("explain", tmp_path / "run", "--method", "attention") == 2
    assert "no method says anything" in capsys.readouterr().err


def test_a_run_names_a_custom_head_and_nothing_is_imported(fresh: Path, capsys) -> None:
    card = json.loads((fresh / "train" / "bundle" / "bundle.json").read_text())
    card["head"] = {"kind": "custom", "target": "antigravity:fly", "options": {}}
    (fresh / "train" / "bundle" / "bundle.json").write_text(json.dumps(card))
    config = yaml.safe_load((fresh / "train" / "config.yaml").read_text())
    config["aggregate"]["head"] = card["head"]
    (fresh / "train" / "config.yaml").write_text(yaml.safe_dump(config))
    assert run("explain", fresh) == 2
    assert "--allow-custom" in capsys.readouterr().err


@pytest.mark.slow
def test_what_has_moved_is_said_by_set(fresh: Path, trained: Path, tmp_path: Path, capsys) -> None:
    config = (fresh / "train" / "config.yaml").read_text()
    (fresh / "train" / "config.yaml").write_text(config.replace(str(trained), str(tmp_path / "gone")))
    assert run("explain", fresh) == 2
    capsys.readouterr()
    moved = ["--set", f"cache.store={trained / 'a.zarr'}", "--set", f"aggregate.cohort={trained / 'a.tsv'}"]
    assert run("explain", fresh, *moved, "--method", "leave_out", "--no-maps") == 0


def test_refusals_say_what_to_do(fresh: Path, trained: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "study" / "ablate").mkdir(parents=True)
    table = tmp_path / "other.tsv"
    table.write_text((trained / "a.tsv").read_text().replace("patient", "sick"))
    bare = shutil.copytree(fresh / "train" / "bundle", tmp_path / "elsewhere")
    for words, says in (
        ([tmp_path / "study"], "keeps no weights"),
        ([tmp_path / "nowhere"], "no folder"),
        ([bare], "does not lie in a run folder"),
        ([fresh, "--method", "atention"], "did you mean 'attention'"),
        ([fresh, "--set", f"aggregate.cohort={table}"], "is it the table"),
        ([fresh, "--set", "aggregate.head.hidden=3"], "what was trained stays"),
        ([fresh, "--set", "aggregate.sessions=5"], "sessions"),
    ):
        assert run("explain", *words) == 2, words
        assert says in capsys.readouterr().err
    assert not (fresh / "explain" / "metrics.json").exists()


@pytest.mark.slow
def test_a_given_split_explains_its_test_participants(tmp_path: Path) -> None:
    file = write_study(tmp_path, split="side", folds={"n": 1})
    rows = (tmp_path / "a.tsv").read_text().splitlines()
    sides = ["train", "train", "train", "test", "test", "train"]
    marked = [f"{rows[0]}\tside", *(f"{row}\t{sides[at % 6]}" for at, row in enumerate(rows[1:]))]
    (tmp_path / "a.tsv").write_text("\n".join(marked) + "\n")
    assert run("train", file, "--set", "aggregate.folds={}") == 0
    assert run("explain", tmp_path / "run", "--no-maps", "--method", "leave_out") == 0
    metrics = json.loads((tmp_path / "run" / "explain" / "metrics.json").read_text())
    assert metrics["n_participants"] == 10
    assert any("20 of 30 participants" in note for note in metrics["notes"])


@pytest.mark.slow
def test_python_gives_what_the_files_hold(fresh: Path) -> None:
    found = slicecache.explain(fresh, ["leave_out", {"kind": "leave_out", "window_mm": 4}], maps=False)
    kept = pd.read_csv(fresh / "explain" / "attention.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(kept, found.slices, check_dtype=False, rtol=1e-12)
    assert list(found.table["method"].unique()) == ["leave_out", "leave_out_4mm"]
    assert found.metrics == json.loads((found.folder / "metrics.json").read_text())
    assert found.metrics["methods"]["leave_out"]["verdict"] in str(found)
