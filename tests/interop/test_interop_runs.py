"""A finished run as a BIDS dataset that the validator passes, and as MLflow keeps runs, without a network."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import slicecache as sc
from aggregate.anomaly.maps.maps import describe_maps, map_name, write_volume_map
from aggregate.common.artefacts import write_json, write_text, write_yaml
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader

LENGTHS = (3, 5, 4, 2)
Make = Callable[[Sequence[Any]], StoreReader]


@pytest.fixture
def run(make_store: Make, scan: type, tmp_path: Path) -> Path:
    """A run folder as train, detect and explain leave it, of four volumes of three participants."""
    people = (("sub-01", "ses-a"), ("sub-01", "ses-b"), ("02", ""), ("p_3!", ""))
    names = ("acq-x_run-1_T1w", "T1w", "T1w", "weird name")
    store = make_store(
        [
            scan(person, session, volume_id=name, n_slices=n)
            for (person, session), name, n in zip(people, names, LENGTHS, strict=True)
        ]
    )
    folder = tmp_path / "run"
    write_yaml(folder / "train" / "config.yaml", {"cache": {"store": store.location}})
    write_json(folder / "train" / "metrics.json", {"task": "binary"})
    maps = folder / "detect" / "maps"
    describe_maps(maps, {"memory_bank": {"Seed": 0}})
    for record in store.records():
        scores = np.ones((len(record.slices.index), 3, 5), dtype=np.float32)
        write_volume_map(maps, record, "memory_bank", scores)
    (maps / ".written").mkdir()
    (maps / ".written" / "x.txt").write_text("x")
    rows = ["participant_id,session_id,volume_id,slice_index,height_mm,label,evidence_of,fold,leave_out"]
    rows += [f"{p},{s},{v},2,4.0,SICK,score,0,0.5" for (p, s), v in zip(people, names, strict=True)]
    write_text(folder / "explain" / "attention.csv", "\n".join(rows) + "\n")
    methods = {"leave_out": {"words": "score without the slice", "verdict": "not interpretable"}}
    write_json(folder / "explain" / "metrics.json", {"methods": methods})
    return folder


def validated(folder: Path, *options: str) -> dict[str, Any]:
    """What the validator of BIDS says."""
    pytest.importorskip("bids_validator_deno", reason="pip install bids-validator-deno brings the validator")
    program = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("the validator's program does not lie beside python")
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [program, str(folder), "--json", *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PATH": places},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def errors(found: dict[str, Any]) -> list[tuple[str, str]]:
    issues = found["issues"]["issues"]
    return [(one["code"], one["location"]) for one in issues if one["severity"] == "error"]


def test_a_run_becomes_bids_derivatives(run: Path, tmp_path: Path) -> None:
    made = sc.export(run, tmp_path / "bids", "bids")
    assert made.notes == ()
    bids = tmp_path / "bids"
    names = {path.relative_to(bids).as_posix() for path in bids.rglob("*") if path.is_file()}
    stem = "sub-01/ses-a/anat/sub-01_ses-a_acq-x_run-1_mod-T1w"
    assert {
        f"{stem}_desc-cls_embedding.npy",
        f"{stem}_desc-patchmean_embedding.npy",
        f"{stem}_slices.tsv",
        f"{stem}_desc-memorybank_anomalymap.nii.gz",
        f"{stem}_desc-explain_slicecurve.tsv",
        "desc-memorybank_anomalymap.json",
        "desc-explain_slicecurve.json",
        "dataset_description.json",
        "participants.tsv",
    } <= names
    store = sc.open(yaml.safe_load((run / "train" / "config.yaml").read_text())["cache"]["store"])
    first = next(entry for entry in store.reader.entries if entry.key.session_id == "ses-a")
    np.testing.assert_array_equal(
        np.load(bids / f"{stem}_desc-cls_embedding.npy"), store.reader.read_volume("cls", first.key)
    )
    assert (bids / f"{stem}_slices.tsv").read_text().splitlines()[1] == "2\t4.0\t56.0"
    assert not [name for name in names if "SICK" in (bids / name).read_bytes().decode(errors="ignore")]
    told = json.loads((bids / "desc-explain_slicecurve.json").read_text())
    assert told["leave_out"]["Verdict"] == "not interpretable"
    description = json.loads((bids / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "slicecache"
    assert description["License"] == "TO BE FILLED"


@pytest.mark.slow
def test_the_validator_passes_it(run: Path, tmp_path: Path) -> None:
    sc.export(run, tmp_path / "bids", "bids")
    assert errors(validated(tmp_path / "bids")) == []


@pytest.mark.slow
def test_names_are_right_but_for_the_suffix(run: Path, tmp_path: Path) -> None:
    """Nothing is hidden behind .bidsignore but suffixes: under one that BIDS has, the maps' names pass."""
    sc.export(run, tmp_path / "bids", "bids")
    bids = tmp_path / "bids"
    (bids / ".bidsignore").write_text("*embedding.*\n*slices.*\n*slicecurve.*\n")
    for path in [*bids.rglob("*anomalymap.*")]:
        # BIDS has `mod` for masks of defacing alone; ours keeps two contrasts of a session apart.
        path.rename(path.with_name(re.sub("_mod-[^_]+", "", path.name.replace("anomalymap", "mask"))))
    assert errors(validated(bids)) == []


def test_maps_of_who_was_withdrawn_stay_behind(run: Path, tmp_path: Path) -> None:
    from cache_schema.move.remove import remove_participant

    remove_participant(yaml.safe_load((run / "train" / "config.yaml").read_text())["cache"]["store"], "02")
    made = sc.export(run, tmp_path / "bids", "bids")
    assert [note.split(" ")[0] for note in made.notes] == ["1", "curves"]
    assert not list((tmp_path / "bids").rglob("*sub-02*"))


def test_names_that_would_be_one_are_refused(make_store: Make, scan: type, tmp_path: Path) -> None:
    location = make_store([scan("sub-01", ""), scan("01", "")]).location
    with pytest.raises(sc.SlicecacheError, match="would both be sub-01_mod-T1w"):
        sc.export(location, tmp_path / "bids", "bids")
    assert not (tmp_path / "bids").exists()


def test_ids_become_labels_that_a_disk_holds() -> None:
    long, other = (map_name(VolumeKey(letters, "", "T1w"), "cls") for letters in ("a" * 300, "a" * 301))
    assert long != other
    assert max(map(len, long.split("/"))) < 120
    assert map_name(VolumeKey("../x\n", "", "T1w"), "cls").split("/")[1:-1] == ["anat"]
    assert map_name(VolumeKey("a" * 64, "", "T1w"), "cls").startswith(f"sub-{'a' * 64}/")


def test_a_map_behind_a_link_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (run / "detect" / "maps" / "desc-x_anomalymap.json").symlink_to(tmp_path / "secret")
    with pytest.raises(sc.ConfigError, match="is a link"):
        sc.export(run, tmp_path / "bids", "bids")
    assert not (tmp_path / "bids").exists()


TABLE = """configuration,head.kind,same_as,runs,auroc,ci_low,ci_high,auprc,p_holm,comparison
mean_pool,mean,,15,0.75,0.6,0.9,0.7,,reference
../abmil,attention,,15,0.8,0.65,,nan,0.04,primary
mean_pool_logistic,,,15,0.74,0.5,0.8,0.6,,baseline
"""


@pytest.fixture
def ablated(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "ablate"
    write_text(folder / "ablation.csv", TABLE)
    write_yaml(folder / "config.yaml", {"run": {"folder": "x"}})
    write_text(folder / "predictions.csv", "participant_id\nsub-01\n")
    write_text(folder / "figures" / "forest.svg", "<svg/>")
    write_json(folder / "metrics.json", {"task": "binary", "target": "dx", "versions": {"torch": "2"}})
    return tmp_path / "run"


LOG = """
import socket, sys, threading
def refuse(*given, **_):
    raise SystemExit(f"reached out to {given[1:]}")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse
import slicecache as sc
print(sc.export(sys.argv[1], sys.argv[2], "mlflow").notes[0])
print([thread.name for thread in threading.enumerate()])
from mlflow.tracking import MlflowClient
import os
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
client = MlflowClient(sys.argv[2])
(study,) = client.search_experiments()
for run in client.search_runs([study.experiment_id]):
    files = [one.path for one in client.list_artifacts(run.info.run_id)]
    print(repr((run.info.run_name, run.info.status, run.data.params, run.data.metrics, files)))
"""


@pytest.mark.slow
def test_an_ablation_in_mlflow_without_a_network(ablated: Path, tmp_path: Path) -> None:
    """In a process of its own, in which whatever reaches out ends it."""
    pytest.importorskip("mlflow")
    variables = {
        name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_CURRENT_TEST")
    }
    done = subprocess.run(
        [sys.executable, "-c", LOG, str(ablated), str(tmp_path / "mlruns")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**variables, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    first, threads, *lines = done.stdout.splitlines()
    assert first == "3 configurations and baselines as MLflow runs"
    assert threads == "['MainThread']", "somebody is still at work: telemetry"
    found = {name: rest for name, *rest in map(eval, lines)}
    assert set(found) == {"study", "mean_pool", "../abmil", "mean_pool_logistic"}
    assert {status for status, *_ in found.values()} == {"FINISHED"}
    _, params, metrics, _ = found["../abmil"]
    assert params == {"configuration": "../abmil", "head.kind": "attention"}
    assert metrics == {"runs": 15.0, "auroc": 0.8, "ci_low": 0.65, "p_holm": 0.04}
    assert set(found["study"][3]) == {"ablation.csv", "config.yaml", "figures", "metrics.json"}
    assert not [path for path in (tmp_path / "mlruns").rglob("*") if path.name == "predictions.csv"]


def test_what_is_no_ablation_is_said(run: Path, ablated: Path, tmp_path: Path) -> None:
    with pytest.raises(sc.ConfigError, match="holds no finished ablation"):
        sc.export(tmp_path, tmp_path / "out", "mlflow")
    with pytest.raises(sc.ConfigError, match="'cls' has no part"):
        sc.export(ablated, tmp_path / "out", "mlflow", tokens=["cls"])
    write_text(ablated / "ablate" / "ablation.csv", "a,b\n1,2\n")
    with pytest.raises(sc.ConfigError, match="is no table of configurations"):
        sc.export(ablated, tmp_path / "out", "mlflow")


def test_without_mlflow_one_sentence_says_what_to_install(
    ablated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(sc.ConfigError, match=r"needs mlflow.*pip install 'slicecache\[mlflow\]'"):
        sc.export(ablated, tmp_path / "out", "mlflow")
    assert not (tmp_path / "out").exists()
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
