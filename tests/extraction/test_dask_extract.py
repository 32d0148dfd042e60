"""The dask engine on workers in this process: the store that the local engine makes, a row per failure."""

import csv
import pickle
from collections import Counter
from functools import partial

import pytest

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

from dask.distributed import LocalCluster
from made_up_inputs import write_inputs, write_manifest

from cache_schema.cluster.settings import NO_DASHBOARD, DaskSettings, WorkerHost
from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.move.remove import remove_participant
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from extract.cli import read_extract_section
from extract.engines import decode
from extract.engines.over_dask import engine as dask_engine
from extract.engines.over_dask import worker
from extract.engines.over_dask.bench import one_of
from extract.engines.over_dask.engine import DaskEngine
from extract.extraction import run_extraction


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=1, threads_per_worker=3, processes=False, scheduler_kwargs=NO_DASHBOARD
    ) as cluster:
        yield cluster


@pytest.fixture
def engine(cluster, tmp_path):
    return DaskEngine(DaskSettings(), WorkerHost(2, 0), cluster.scheduler_address, tmp_path / "shared")


def extract(file, *overrides, **options):
    pipeline = load_pipeline(file, overrides)
    return run_extraction(pipeline, read_extract_section(pipeline), progress=False, **options)


def test_the_store_is_the_local_engines_and_a_second_run_does_nothing(tmp_path, engine):
    file = write_inputs(tmp_path)
    (tmp_path / "broken.nii").write_bytes(b"no image")
    write_manifest(tmp_path, ("twin", "path", "broken.nii"))
    local = extract(file, "run.folder=local", "cache.store=local/cache.zarr", "extract.workers=0")
    outcome = extract(file, engine=engine)
    assert outcome.content_digest == local.content_digest
    assert (outcome.embedded, outcome.slices, outcome.failed) == (local.embedded, local.slices, 1)
    assert [f.reason for f in outcome.failures] == [f.reason for f in local.failures]
    again = extract(file, engine=engine)
    assert (again.embedded, again.skipped) == (0, local.embedded)
    assert not worker._benches  # nothing stays on workers that live on


WIDE = "wide: {backbone: {kind: untrained, size: tiny, seed: 1}}"
STORES = f"extract.stores={{main: {{}}, other: {{slices: {{kind: all}}}}, {WIDE}}}"


def test_several_stores_are_made_in_one_go_each_volume_decoded_once(tmp_path, engine, monkeypatch):
    file = write_inputs(tmp_path)
    local = extract(file, STORES, "run.folder=local", "cache.store=local/cache.zarr", "extract.workers=0")
    decoded: Counter[str] = Counter()

    def counting(candidate, several):
        decoded[candidate.key.participant_id] += len(several)
        return decode.attempt(candidate, several)

    monkeypatch.setattr(worker, "attempt", counting)
    outcome = extract(file, STORES, engine=engine)
    assert [each.content_digest for each in outcome.every] == [each.content_digest for each in local.every]
    assert [each.embedded for each in outcome.every] == [5, 5, 5]
    assert decoded == dict.fromkeys(("plain", "twin", "masked", "pair", "inside"), 3)
    store = open_store(outcome.beside[0].store)
    gone = next(entry.key for entry in store.entries if entry.key.participant_id == "pair")
    StoreWriter.open(store.location, store.header, []).remove_record(gone)
    decoded.clear()
    assert [each.embedded for each in extract(file, STORES, engine=engine).every] == [0, 1, 0]
    assert decoded == {"pair": 1}


def test_a_volume_that_fails_for_one_store_is_in_the_others(tmp_path, engine):
    file = write_inputs(tmp_path)
    high = "{kind: band, from_vertex_mm: [500, 600]}"
    stores = f"extract.stores={{main: {{}}, none: {{slices: {high}}}}}"
    outcome = extract(file, stores, engine=engine)
    assert [(each.embedded, each.failed) for each in outcome.every] == [(5, 0), (0, 5)]
    assert "keeps no slice" in outcome.beside[0].failures[0].reason


def test_what_only_reading_finds_is_a_failure_with_its_row(tmp_path, engine):
    file = write_inputs(tmp_path)
    whole = (tmp_path / "masked.nii.gz").read_bytes()
    (tmp_path / "masked.nii.gz").write_bytes(whole[: len(whole) // 2])
    outcome = extract(file, engine=engine)
    assert (outcome.embedded, outcome.failed) == (4, 1)
    with open(outcome.failures_table) as stream:
        (row,) = csv.DictReader(stream, delimiter="\t")
    assert row["participant_id"] == "masked"
    (tmp_path / "masked.nii.gz").write_bytes(whole)
    assert extract(file, engine=engine).embedded == 1


def test_what_changed_is_replaced_when_asked(tmp_path, engine):
    file = write_inputs(tmp_path)
    before = extract(file, engine=engine).content_digest
    write_inputs(tmp_path)
    (tmp_path / "plain.nii").write_bytes((tmp_path / "twin.nii").read_bytes())
    outcome = extract(file, "extract.replace=true", engine=engine)
    assert outcome.embedded == 1
    assert outcome.content_digest != before


def test_who_is_withdrawn_meanwhile_is_no_failure(tmp_path, engine, monkeypatch):
    file = write_inputs(tmp_path)

    def after_a_withdrawal(client, *given):
        remove_participant(str(tmp_path / "run" / "cache.zarr"), "twin")
        return outcomes(client, *given)

    outcomes = dask_engine.outcomes
    monkeypatch.setattr(dask_engine, "outcomes", after_a_withdrawal)
    outcome = extract(file, engine=engine)
    assert (outcome.embedded, outcome.failed) == (4, 0)
    assert [key.participant_id for key in outcome.withdrawn] == ["twin"]


def test_another_version_on_the_workers_is_one_sentence(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(dask_engine, "versions", lambda: worker.versions() | {"slicecache": "9.9"})
    with pytest.raises(ConfigError, match=r"^on \S+: this worker has slicecache .*9\.9"):
        extract(write_inputs(tmp_path), engine=engine)


def test_a_machine_that_fails_stops_the_run_and_says_what_stays(tmp_path, engine, monkeypatch):
    def full(*_):
        raise MachineError("cannot write 'there': the disk is full")

    monkeypatch.setattr(worker.Bench, "embed", full)
    with pytest.raises(MachineError, match=r"on \S+: cannot write 'there'.*0 volumes were committed"):
        extract(write_inputs(tmp_path), engine=engine)


def test_a_task_is_small(tmp_path):
    file = write_inputs(tmp_path)
    pipeline = load_pipeline(file, ())
    section = read_extract_section(pipeline)
    stores = (worker.StoreWork(section, "store", 17, 5),)
    work = worker.Work("r", stores, pipeline.base, False, worker.versions())
    assert len(pickle.dumps(partial(worker.embed_volume, work))) < 8000


@pytest.mark.parametrize(
    ("name", "device"), [("0", "GPU-a"), ("SLURMCluster-7-1", "GPU-b"), ("2", "GPU-a"), ("mine", "GPU-a")]
)
def test_workers_of_a_machine_take_one_gpu_each(name, device):
    assert one_of(["GPU-a", "GPU-b"], name) == device
