"""A cohort table and images that have nobody in common are found out before anything is embedded."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

import slicecache

NO_MATCH = "no volume of the store matches a row of clinic.csv (joined on Patient, Visit)"


def command(*words):
    return slicecache.guarded(slicecache.cli.main, list(map(str, words)))


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Twelve volumes, and a table that calls their ids 1 and baseline where the images have 01 and bl."""
    monkeypatch.chdir(tmp_path)
    ball = np.zeros((12, 12, 12), np.float32)
    ball[3:9, 3:9, 3:9] = 1
    rows, people = ["participant_id,session_id,path"], ["Patient,Visit,Age,Group"]
    for i in range(1, 13):
        noise = np.random.Generator(np.random.PCG64(i)).random((12, 12, 12), np.float32)
        nibabel.save(nibabel.Nifti1Image(ball * (1 + noise), np.diag([8.0, 8, 8, 1])), f"{i}.nii")
        rows.append(f"{i:02d},bl,{i}.nii")
        people.append(f"{i},baseline,{60 + i},{'AB'[i % 2]}")
    Path("volumes.csv").write_text("\n".join(rows) + "\n")
    Path("clinic.csv").write_text("\n".join(people) + "\n")
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": {
            "input": {"manifest": "volumes.csv"},
            "backbone": {"kind": "untrained", "size": "tiny"},
            "workers": 0,
        },
        "aggregate": {
            "cohort": "clinic.csv",
            "join": {"participant": "Patient", "session": "Visit"},
            "target": {"column": "Group"},
            "head": {"kind": "mean"},
            "folds": {"n": 2},
            "train": {"epochs": 2},
        },
    }

    def write(join=None, **more):
        said = {**data, "aggregate": {**data["aggregate"], **more}}
        said["aggregate"]["join"] = {**said["aggregate"]["join"], **(join or {})}
        Path("pipeline.yaml").write_text(yaml.safe_dump(said))

    write()
    return write


def test_a_plan_says_that_no_volume_finds_a_row_and_is_a_plan_all_the_same(study, capsys):
    assert command("plan", "pipeline.yaml") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"note: {NO_MATCH}")
    assert last.endswith("say join: {pad: 2, visits: {baseline: bl}}")


def test_a_plan_counts_the_volumes_that_find_a_row(study, capsys):
    study({"pad": 2, "visits": {"baseline": "bl"}}, where="Age > 61")
    assert command("plan", "pipeline.yaml") == 0
    said = "clinic.csv has a row, after where, for 11 of 12 volumes; none for 01/bl/1"
    assert capsys.readouterr().out.splitlines()[-1].startswith(said[:-2])
    assert command("plan", "pipeline.yaml", "--json") == 0
    cohort = json.loads(capsys.readouterr().out)["cohort"]
    assert (cohort["volumes"], cohort["with_row"]) == (12, 11)


def test_a_plan_without_a_table_says_nothing_of_one(study, capsys):
    data = yaml.safe_load(Path("pipeline.yaml").read_text())
    del data["aggregate"]
    Path("pipeline.yaml").write_text(yaml.safe_dump(data))
    assert command("plan", "pipeline.yaml", "--json") == 0
    assert "cohort" not in json.loads(capsys.readouterr().out)


def test_a_table_that_cannot_be_read_is_a_note_of_the_plan(study, capsys):
    Path("clinic.csv").unlink()
    assert command("plan", "pipeline.yaml") == 0
    assert "note: cannot read the cohort table" in capsys.readouterr().out


def test_run_refuses_before_it_embeds_with_the_sentence_of_afterwards(study, capsys):
    assert command("run", "pipeline.yaml") == 2
    before = capsys.readouterr()
    assert NO_MATCH in before.err
    assert not Path("run/cache.zarr").exists()
    assert command("extract", "pipeline.yaml") == 0, "what is embedded may serve another table"
    capsys.readouterr()
    assert command("train", "pipeline.yaml") == 2
    assert capsys.readouterr().err == before.err


def test_run_goes_on_where_a_volume_finds_a_row(study):
    study({"pad": 2, "visits": {"baseline": "bl"}})
    assert command("run", "pipeline.yaml") == 0


def test_volumes_that_the_store_has_already_count_too(study):
    study({"pad": 2, "visits": {"baseline": "bl"}})
    assert command("extract", "pipeline.yaml") == 0
    header = Path("volumes.csv").read_text().splitlines()[0]
    Path("volumes.csv").write_text(f"{header}\nnew,bl,1.nii\n")
    assert command("run", "pipeline.yaml") == 0


def test_the_external_cohort_is_foreseen_too(study, capsys):
    """Its store is there already: a plan counts its rows, and a run is not begun without any."""
    rows = Path("clinic.csv").read_text().splitlines()
    Path("other.csv").write_text("\n".join([rows[0], *rows[-3:]]) + "\n")
    met = {"pad": 2, "visits": {"baseline": "bl"}}
    study(met)
    assert command("extract", "pipeline.yaml", "--set", "cache.store=other.zarr") == 0
    external = {"store": "other.zarr", "cohort": "other.csv", "join": {"participant": "Patient"}}
    study(met, external=external)
    capsys.readouterr()
    assert command("plan", "pipeline.yaml") == 0
    own, other = capsys.readouterr().out.splitlines()[-2:]
    assert own == "clinic.csv has a row for 12 of 12 volumes"
    assert other.startswith("aggregate.external: other.csv has a row for 3 of 12 volumes; none for 01/bl/")
    study(met, external={**external, "join": {"participant": "Patient", "session": "Visit"}})
    assert command("plan", "pipeline.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)["cohort"]
    assert (found["with_row"], found["external"]["with_row"]) == (12, 0)
    assert found["external"]["said"].startswith("note: no volume of the store matches a row of other.csv")
    assert command("run", "pipeline.yaml") == 2
    assert "aggregate.external: no volume of the store matches" in capsys.readouterr().err
    assert not Path("run/cache.zarr").exists()


def test_an_external_store_that_is_not_there_yet_is_not_spoken_of(study, capsys):
    study(external={"store": "later.zarr", "cohort": "clinic.csv"})
    assert command("plan", "pipeline.yaml") == 0
    assert "external" not in capsys.readouterr().out
