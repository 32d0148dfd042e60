"""What an extraction does when files change, vanish, or lie damaged in the store; and what it sweeps."""

import os
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from leftovers import dead_token, held_by_another

import slicecache
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import record_name
from cache_schema.store.reader import open_store
from cache_schema.verify.verify import verify_store
from extract.cli import read_extract_section
from extract.engines import decode
from extract.extraction import run_extraction
from extract.outcome import Outcome
from extract.planning import for_store as run_module


def write_volume(path: Path, seed: int, slices: int = 17) -> None:
    rng = np.random.default_rng(seed)
    shape = (31, 37, slices)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    values = (((grid**2).sum(axis=0) < 0.6) * rng.uniform(50, 200, shape)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([5, 5, 5, 1])), path)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three volumes in a manifest."""
    for index in range(3):
        write_volume(tmp_path / f"{index}.nii.gz", index)
    rows = [f"p{index}\t{index}.nii.gz" for index in range(3)]
    (tmp_path / "volumes.tsv").write_text("\n".join(["participant_id\tpath", *rows]) + "\n")
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": {
            "input": {"manifest": "volumes.tsv"},
            "canvas": 56,
            "backbone": {"kind": "untrained", "size": "tiny"},
            "workers": 0,
        },
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def run(cohort: Path, *overrides: str) -> Outcome:
    loaded = load_pipeline(cohort / "pipeline.yaml", overrides)
    return run_extraction(loaded, read_extract_section(loaded), progress=False)


def counts(outcome: Outcome) -> tuple[int, int, int]:
    return outcome.embedded, outcome.skipped, outcome.failed


def command(cohort: Path, *arguments: str) -> int:
    return slicecache.guarded(slicecache.cli.main, ["extract", str(cohort / "pipeline.yaml"), *arguments])


def test_the_flag_replaces_what_changed_and_only_that(cohort, capsys):
    before = run(cohort)
    records = {entry.key: entry.digest for entry in open_store(before.store).entries}
    write_volume(cohort / "1.nii.gz", 91, slices=29)
    assert command(cohort) == 1
    assert (
        "p1/1: its file has changed since it was embedded; extract with --replace" in capsys.readouterr().out
    )
    assert open_store(before.store).content_digest() == before.content_digest
    assert command(cohort, "--replace") == 0
    assert "1 volume embedded, 2 already there, 0 failed" in capsys.readouterr().out
    after = {entry.key: entry.digest for entry in open_store(before.store).entries}
    changed = [key.participant_id for key in after if after[key] != records[key]]
    assert changed == ["p1"]
    assert (
        run(cohort, "cache.store=run/fresh.zarr").content_digest == open_store(before.store).content_digest()
    )
    assert verify_store(before.store).ok


def test_replacing_mends_what_is_damaged_in_the_store(cohort):
    before = run(cohort)
    store = Path(before.store)
    chunk = next((store / "cls").glob("c.0.*"))
    data = bytearray(chunk.read_bytes())
    data[len(data) // 3] ^= 1
    chunk.write_bytes(bytes(data))
    record = store / record_name(VolumeKey("p1", "", "1"))
    record.write_text(record.read_text().replace('"p1"', '"p9"', 1))
    assert not verify_store(before.store).ok
    mended = run(cohort, "extract.replace=true")
    assert counts(mended) == (2, 1, 0)
    assert [note.split(" ")[0] for note in mended.notes] == ["p0/0", "p1/1"]
    assert mended.content_digest == before.content_digest
    assert verify_store(before.store).ok


def test_a_file_that_vanishes_after_planning_is_a_failure(cohort, monkeypatch):
    original = decode.attempt

    def vanishing(candidate, preprocessing):
        (cohort / "2.nii.gz").unlink(missing_ok=True)
        return original(candidate, preprocessing)

    monkeypatch.setattr(decode, "attempt", vanishing)
    outcome = run(cohort)
    assert counts(outcome) == (2, 0, 1)
    assert outcome.failures[0].key.participant_id == "p2"
    assert "there is no file" in outcome.failures[0].reason


def test_a_committed_file_that_vanishes_after_planning_is_a_failure(cohort, monkeypatch):
    before = run(cohort)
    original = run_module.plan_extraction

    def vanishing(*asked):
        plan = original(*asked)
        (cohort / "2.nii.gz").unlink()
        return plan

    monkeypatch.setattr(run_module, "plan_extraction", vanishing)
    outcome = run(cohort)
    assert counts(outcome) == (0, 2, 1)
    assert outcome.failures[0].reason == "its file vanished after it was planned"
    assert outcome.content_digest == before.content_digest


def test_a_committed_volume_whose_file_is_gone_stays_committed(cohort):
    before = run(cohort)
    (cohort / "2.nii.gz").unlink()
    outcome = run(cohort)
    assert counts(outcome) == (0, 2, 1)
    assert outcome.content_digest == before.content_digest
    assert open_store(before.store).failures() == ()
    assert (cohort / "run" / "failures.tsv").read_text().count("\n") == 2


def test_a_file_that_changes_while_it_is_read_is_a_failure(cohort, monkeypatch):
    from extract.volume import read

    original = read.scale_voxels

    def changing(dataobj, dtype):
        values = original(dataobj, dtype)
        os.utime(cohort / "0.nii.gz", ns=(1, time.time_ns()))
        return values

    monkeypatch.setattr(read, "scale_voxels", changing)
    outcome = run(cohort)
    assert counts(outcome) == (2, 0, 1)
    assert "changed while it was read" in outcome.failures[0].reason


def test_left_over_partial_files_are_swept(cohort):
    """Of a process that is gone; never of a live one."""
    before = run(cohort)
    store = Path(before.store)
    dead = dead_token()
    old = [store / "tmp" / f"write{dead}", store / "table" / f".000001.json{dead}"]
    half = store.parent / f".{store.name}.creating{dead}"
    (store / "tmp").mkdir(exist_ok=True)
    half.mkdir()
    for path in old:
        path.write_bytes(b"part")
    with held_by_another("file", str(store / "tmp" / "write")) as (live, _):
        assert counts(run(cohort)) == (0, 3, 0)
        assert [path.exists() for path in (*old, half)] == [False] * 3
        assert Path(live).exists()
