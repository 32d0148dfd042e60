"""The heart of a worker: what it says, when it is silent, and that it is never in the way."""

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.files.objects import LocalObjects
from cache_schema.format.canonical import canonical_json
from cache_schema.format.heartbeat import Heartbeat
from cache_schema.move.export import export_store, import_store
from cache_schema.move.pack import pack
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store
from cache_schema.workers import heart as hearts
from cache_schema.workers.heard import heard, sweep_old
from cache_schema.workers.heart import Heart, WorkDone, Worker, scheduler_job
from cache_schema.workers.rate import Rate

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORKER = Worker("cuda", "NVIDIA A100", "bfloat16", "AMD EPYC 7763", "2/8", 125)
DONE = WorkDone(7, 1, 700, 30.0, 10.0)


@pytest.fixture
def location(tmp_path) -> str:
    """A store with one of its two volumes committed."""
    header = example_header(("cls",))
    keys = [example_key(0), example_key(1)]
    writer = StoreWriter.open(str(tmp_path / "s.zarr"), header, [example_row(key, 5) for key in keys])
    writer.commit(example_draft(keys[0], 5), example_arrays(header, 5))
    return writer.location


def beats(location: str) -> list[Heartbeat]:
    return [beat for _, beat in heard(LocalObjects(Path(location))) if beat is not None]


def put(location: str, beat: Heartbeat) -> None:
    LocalObjects(Path(location)).put(beat.name, canonical_json(beat.model_dump(mode="json")))


def a_beat(**changes) -> Heartbeat:
    made = Heart("", WORKER, lambda: DONE).now()
    return made.model_copy(update=changes)


def wait_for(what) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_heart_says_who_it_is_and_what_is_done(location, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1234")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
    done = [WorkDone(0, 0, 0, 0.0, 0.0)]
    with Heart(location, WORKER, lambda: done[0], every=0.01):
        wait_for(lambda: beats(location))
        assert beats(location)[0].state == "running"
        done[0] = DONE
        wait_for(lambda: beats(location)[0].slices == 700)
    (last,) = beats(location)  # each goes over the one before
    assert last.state == "done"
    assert (last.pid, last.job, last.shard) == (os.getpid(), "slurm 1234_5", "2/8")
    assert (last.device_name, last.device, last.compute_dtype) == ("NVIDIA A100", "cuda", "bfloat16")
    assert (last.committed, last.failed, last.slices, last.volumes) == (7, 1, 700, 125)
    assert (last.busy_seconds, last.waiting_seconds) == (30.0, 10.0)
    assert last.slices_per_second > 0
    assert last.started <= last.beat


@pytest.mark.parametrize(
    ("ending", "state"), [(KeyboardInterrupt, "stopped"), (SystemExit, "stopped"), (OSError, "failed")]
)
def test_the_last_beat_says_how_it_ended(location, ending, state):
    with pytest.raises(ending), Heart(location, WORKER, lambda: DONE):
        raise ending
    assert [beat.state for beat in beats(location)] == [state]


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({"SLURM_JOB_ID": "77"}, "slurm 77"),
        ({"PBS_JOBID": "12.server"}, "pbs 12.server"),
        ({"LSB_JOBID": "9"}, "lsf 9"),
        ({"JOB_ID": "3"}, "sge 3"),
        ({}, ""),
    ],
)
def test_jobs_are_called_as_the_scheduler_calls_them(monkeypatch, variables, job):
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert scheduler_job() == job


def test_a_name_tells_nothing(location):
    with Heart(location, WORKER, lambda: DONE):
        pass
    (name,) = os.listdir(f"{location}/workers")
    assert len(name) == len("0123456789abcdef.json")
    assert verify_store(location, full=True).problems == ()


@pytest.mark.parametrize("wrong", ["no store", "no folder to write to", "the work cannot say"])
def test_what_goes_wrong_is_one_note_and_no_error(location, tmp_path, wrong):
    done = []

    def broken() -> WorkDone:
        done.append(1)
        raise ZeroDivisionError("by zero")

    if wrong == "no folder to write to":
        Path(location, "workers").write_text("a file in the folder's place")
    place = str(tmp_path / "absent.zarr") if wrong == "no store" else location
    with Heart(
        place, WORKER, broken if wrong == "the work cannot say" else lambda: DONE, every=0.01
    ) as heart:
        wait_for(lambda: heart.notes)
        time.sleep(0.05)
    assert len(heart.notes) == 1
    assert "status` does not see this worker" in heart.notes[0]
    assert wrong != "the work cannot say" or len(done) > 1


def test_a_file_system_that_hangs_holds_nothing_up(location, monkeypatch):
    hanging, freed, written = threading.Event(), threading.Event(), []

    def hang(self, name, data):
        hanging.set()
        freed.wait(30)
        written.append(name)

    monkeypatch.setattr(LocalObjects, "put", hang)
    monkeypatch.setattr(hearts, "LAST_SECONDS", 0.05)
    with Heart(location, WORKER, lambda: DONE):
        assert hanging.wait(10)
    assert written == []
    freed.set()


def test_no_beat_waits_for_the_disk(location, monkeypatch):
    waited = []
    monkeypatch.setattr("cache_schema.files.objects.sync", waited.append)
    monkeypatch.setattr("cache_schema.files.objects.sync_folder", waited.append)
    with Heart(location, WORKER, lambda: DONE):
        pass
    assert beats(location)
    assert waited == []


@pytest.mark.parametrize("finish", [seal, pack])
def test_a_complete_store_has_no_workers_and_stays_as_it_is(location, finish):
    key, header = example_key(1), example_header(("cls",))
    with Heart(location, WORKER, lambda: DONE):
        writer = StoreWriter.open(location, header, [])
        writer.commit(example_draft(key, 5), example_arrays(header, 5))
    assert beats(location)
    finish(location)
    assert beats(location) == []
    with Heart(location, WORKER, lambda: DONE):
        pass
    assert beats(location) == []
    assert verify_store(location).problems == ()


def test_copies_take_no_workers_along(location, tmp_path):
    with Heart(location, WORKER, lambda: DONE):
        pass
    export_store(location, str(tmp_path / "e.h5"))
    import_store(str(tmp_path / "e.h5"), str(tmp_path / "i.zarr"))
    import_store(location, str(tmp_path / "j.zarr"))
    assert not (tmp_path / "i.zarr" / "workers").exists()
    assert not (tmp_path / "j.zarr" / "workers").exists()
    assert b"workers" not in (tmp_path / "e.h5").read_bytes()


def test_who_was_not_heard_of_for_a_day_is_swept_by_the_next_worker(location):
    now = datetime.now(UTC)
    young = a_beat(started=now - timedelta(days=3), beat=now - timedelta(hours=23))
    put(location, young)
    put(location, a_beat(started=now - timedelta(days=9), beat=now - timedelta(hours=25)))
    Path(location, "workers", "0" * 16 + ".json").write_text("{}")
    with Heart(location, WORKER, lambda: DONE):
        pass
    assert {beat.state for beat in beats(location)} == {"running", "done"}
    assert len(beats(location)) == 2
    assert young in beats(location)


def test_of_many_some_are_looked_at(location, monkeypatch):
    monkeypatch.setattr("cache_schema.workers.heard.LOOKED_AT", 3)
    old = datetime.now(UTC) - timedelta(days=2)
    for pid in range(7):
        put(location, a_beat(pid=pid, beat=old))
    sweep_old(LocalObjects(Path(location)))
    assert len(beats(location)) == 4


def test_a_heartbeat_that_is_none_is_a_stray(location):
    with Heart(location, WORKER, lambda: DONE):
        pass
    (name,) = os.listdir(f"{location}/workers")
    beat = json.loads(Path(location, "workers", name).read_text())
    Path(location, "workers", name).write_bytes(canonical_json({**beat, "pid": 1}))
    (problem,) = verify_store(location, full=True).problems
    assert (problem.array, problem.volume) == ("workers", "")
    assert verify_store(location).problems == ()


@given(speed=st.integers(1, 500), beats=st.integers(6, 200))
def test_a_steady_worker_has_a_steady_rate(speed, beats):
    rate = Rate(START)
    for number in range(1, beats):
        found = rate.at(START + timedelta(seconds=15 * number), 15 * speed * number)
    assert found == pytest.approx(speed)


def test_the_rate_is_of_the_last_minute():
    rate, slices = Rate(START), 0
    for number in range(1, 41):
        slices += 150 if number <= 20 else 1500
        found = rate.at(START + timedelta(seconds=15 * number), slices)
        if number == 20:
            assert found == pytest.approx(10)
    assert found == pytest.approx(100)


def test_volumes_of_many_minutes_have_a_rate_between_them():
    rate = Rate(START)
    seen = [rate.at(START + timedelta(seconds=15 * n), 160 * (n // 20)) for n in range(1, 200)]
    assert all(0.2 < found < 1.2 for found in seen[60:])  # 160 slices in five minutes are 0.53 a second
    later = rate.at(START + timedelta(hours=9), 160 * 9)
    assert later < 0.1  # nothing came for hours


@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
            st.integers(0, 2**62),
        ),
        max_size=30,
    )
)
def test_no_clock_makes_a_rate_that_is_none(looks):
    rate = Rate(START)
    for when, slices in looks:
        assert 0 <= rate.at(when, slices) < float("inf")


def test_a_heartbeat_that_a_power_failure_tore_is_no_damage_and_goes(location):
    objects = LocalObjects(Path(location))
    objects.put(f"workers/{'0' * 16}.json", b"")
    objects.put(f"workers/{'1' * 16}.json", bytes(300))
    objects.put(f"workers/{'2' * 16}.json", b'{"of": "a later version"}')
    problems = verify_store(location, full=True).problems
    assert [problem.problem.split()[0] for problem in problems] == [f"workers/{'2' * 16}.json"]
    sweep_old(objects)
    assert objects.list("workers") == [f"workers/{'2' * 16}.json"]
