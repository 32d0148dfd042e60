"""Who was withdrawn stays out of an extraction, is counted, and comes back only when asked for by name."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import slicecache
from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.move.pack import pack
from cache_schema.move.remove import remove_participant
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store
from extract.cli import read_extract_section
from extract.extraction import run_extraction
from extract.outcome import Outcome
from extract.planning.plan import said_of_withdrawn
from extract.said import describe_extraction

PEOPLE = ("p0", "p1", "p2")


def write_volume(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (31, 37, 17)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    values = (((grid**2).sum(axis=0) < 0.6) * rng.uniform(50, 200, shape)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([5, 5, 5, 1])), path)


def unusable(path: Path) -> None:
    """Every voxel alike, which shows only when it is read."""
    nib.save(nib.Nifti1Image(np.full((31, 37, 17), 7, np.float32), np.diag([5, 5, 5, 1])), path)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three participants with two sessions each."""
    rows = ["participant_id\tsession_id\tpath"]
    for number, person in enumerate(PEOPLE):
        for session in ("a", "b"):
            path = tmp_path / f"{person}{session}.nii.gz"
            write_volume(path, 2 * number + (session == "b"))
            rows.append(f"{person}\t{session}\t{path.name}")
    (tmp_path / "volumes.tsv").write_text("\n".join(rows) + "\n")
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "cache.zarr"},
        "extract": {
            "input": {"manifest": "volumes.tsv"},
            "canvas": 56,
            "backbone": {"kind": "untrained", "size": "tiny"},
            "workers": 0,
        },
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def run(cohort: Path, *readmit: str, **keys: bool) -> Outcome:
    loaded = load_pipeline(
        cohort / "pipeline.yaml", [f"extract.{name}={value}" for name, value in keys.items()]
    )
    return run_extraction(loaded, read_extract_section(loaded), progress=False, readmit=readmit)


def people(cohort: Path) -> set[str]:
    return {entry.key.participant_id for entry in open_store(cohort / "cache.zarr").entries}


def withdraw(cohort: Path, person: str) -> None:
    remove_participant(str(cohort / "cache.zarr"), person)


def test_withdrawn_is_left_out_counted_and_no_failure(cohort, capsys):
    unusable(cohort / "p1b.nii.gz")
    assert run(cohort).failed == 1
    withdraw(cohort, "p1")
    for keys in ({}, {"replace": True}):
        outcome = run(cohort, **keys)
        assert (outcome.embedded, outcome.skipped, outcome.failed) == (0, 4, 0)
        assert [str(key) for key in outcome.withdrawn] == ["p1/a/p1a", "p1/b/p1b"]
        assert outcome.as_json()["withdrawn"] == {"volumes": 2, "participants": ["p1"]}
        assert "2 volumes of 1 withdrawn participant (p1) are left out" in describe_extraction(outcome)
        assert "p1" not in (cohort / "run" / "failures.tsv").read_text()
    assert people(cohort) == {"p0", "p2"}
    assert verify_store(str(cohort / "cache.zarr"), full=True).ok
    assert slicecache.guarded(slicecache.cli.main, ["plan", str(cohort / "pipeline.yaml"), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["withdrawn"] == {"volumes": 2, "participants": ["p1"]}
    assert (planned["embeddable"], planned["refused"]) == (4, 0)


def test_files_of_the_withdrawn_are_not_even_opened(cohort, monkeypatch):
    run(cohort)
    withdraw(cohort, "p0")
    seen = []
    from extract.planning import plan

    real = plan.open_volume
    monkeypatch.setattr(plan, "open_volume", lambda candidate: seen.append(candidate.key) or real(candidate))
    run(cohort)
    assert {key.participant_id for key in seen} == {"p1", "p2"}


def test_readmitted_by_name_with_the_same_numbers(cohort):
    before = run(cohort)
    seal(str(cohort / "cache.zarr"))
    withdraw(cohort, "p2")
    assert open_store(cohort / "cache.zarr").sealed
    with pytest.raises(StoreError, match="'p0' was not withdrawn"):
        run(cohort, "p2", "p0")
    with pytest.raises(ConfigError, match="no volume of participant 'p9'"):
        run(cohort, "p2", "p9")
    assert people(cohort) == {"p0", "p1"}
    outcome = run(cohort, "p2")
    assert (outcome.embedded, outcome.withdrawn) == (2, ())
    assert outcome.content_digest == before.content_digest
    assert verify_store(str(cohort / "cache.zarr"), full=True).ok
    assert run(cohort).embedded == 0
    withdraw(cohort, "p2")  # and withdrawn once more
    assert len(run(cohort).withdrawn) == 2


def test_readmitted_from_python(cohort):
    run(cohort)
    withdraw(cohort, "p0")
    assert len(slicecache.extract(cohort / "pipeline.yaml").withdrawn) == 2
    assert slicecache.extract(cohort / "pipeline.yaml", readmit=["p0"]).embedded == 2


def test_a_packed_store_readmits_nobody(cohort):
    run(cohort)
    location = str(cohort / "cache.zarr")
    pack(location)
    withdraw(cohort, "p0")
    assert len(run(cohort).withdrawn) == 2
    with pytest.raises(StoreError, match="is packed and read only"):
        run(cohort, "p0")
    assert len(open_store(location).tombstones()) == 1


@pytest.mark.parametrize("moment", ["fail", "commit"])
def test_withdrawn_while_the_extraction_runs(cohort, monkeypatch, moment):
    """The plan has them still: what is on its way is left out, and the others go on."""
    unusable(cohort / "p1b.nii.gz")
    real = getattr(StoreWriter, moment)
    person = "p1" if moment == "fail" else "p0"

    def removing(writer, item, *rest):
        if item.key.participant_id == person:
            withdraw(cohort, person)
        return real(writer, item, *rest)

    monkeypatch.setattr(StoreWriter, moment, removing)
    outcome = run(cohort)
    monkeypatch.undo()
    assert person not in people(cohort)
    assert people(cohort) | {person} == set(PEOPLE)
    assert verify_store(str(cohort / "cache.zarr"), full=True).ok
    if moment == "commit":
        assert [key.participant_id for key in outcome.withdrawn] == ["p0", "p0"]
    assert person not in {failure.participant_id for failure in open_store(cohort / "cache.zarr").failures()}
    assert {key.participant_id for key in run(cohort).withdrawn} == {person}


def test_everybody_may_be_withdrawn(cohort):
    run(cohort)
    for person in PEOPLE:
        withdraw(cohort, person)
    outcome = run(cohort)
    assert (outcome.embedded, outcome.failed, len(outcome.withdrawn)) == (0, 0, 6)
    assert open_store(cohort / "cache.zarr").entries == ()


def test_who_is_left_out_in_words(cohort):
    run(cohort)
    withdraw(cohort, "p0")
    keys = run(cohort).withdrawn
    assert said_of_withdrawn(keys[:1]).startswith("1 volume of 1 withdrawn participant (p0) is left out; ")
    assert "`slicecache extract --readmit NAME` takes them back" in said_of_withdrawn(keys)
