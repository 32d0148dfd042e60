"""What `slicecache status` says, against counts that are written out."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, zipped

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import LocalObjects
from cache_schema.format.canonical import canonical_json
from cache_schema.format.heartbeat import Heartbeat
from cache_schema.format.record import Failure
from cache_schema.move.export import export_store
from cache_schema.move.pack import pack
from cache_schema.move.remove import remove_participant
from cache_schema.status.counts import kept_share
from cache_schema.status.crew import HEARD_SECONDS, crew_of, waiting_share
from cache_schema.status.left import LONGEST, ago, duration, seconds_left
from cache_schema.status.look import Observer
from cache_schema.status.reasons import grouped
from cache_schema.status.status_text import one_line, ranges, status_text
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter

HEADER = example_header(("cls",))
STARTED = datetime.now(UTC) - timedelta(minutes=10)


def before(**span: float) -> datetime:
    """A moment so long before now."""
    return datetime.now(UTC) - timedelta(**span)


def failure(number: int, reason: str) -> Failure:
    key = example_key(number)
    return Failure(
        participant_id=key.participant_id,
        session_id=key.session_id,
        volume_id=key.volume_id,
        path="x.nii",
        reason=reason,
    )


def a_store(folder: Path, planned: int, committed: Sequence[int], failed: dict[int, str]) -> str:
    """Volumes of at most 10 slices, of which those that are committed keep 5."""
    rows = [example_row(example_key(number), 10) for number in range(planned)]
    writer = StoreWriter.open(str(folder / "s.zarr"), HEADER, rows, durable=False)
    for number in committed:
        writer.commit(example_draft(example_key(number), 5), example_arrays(HEADER, 5, number))
    for number, reason in failed.items():
        writer.fail(failure(number, reason))
    return writer.location


def beat(**changes) -> Heartbeat:
    said = {
        "host": "node01",
        "pid": 1,
        "job": "",
        "shard": "",
        "processor": "AMD EPYC 7763",
        "device": "cuda",
        "device_name": "NVIDIA A100",
        "compute_dtype": "bfloat16",
        "started": STARTED,
        "beat": before(),
        "state": "running",
        "volumes": 125,
        "committed": 100,
        "failed": 0,
        "slices": 12000,
        "slices_per_second": 20.0,
        "busy_seconds": 90.0,
        "waiting_seconds": 10.0,
    }
    return Heartbeat.model_validate({**said, **changes})


def put(location: str, *beats: Heartbeat) -> None:
    for each in beats:
        LocalObjects(Path(location)).put(each.name, canonical_json(each.model_dump(mode="json")))


def look(location: str):
    return Observer(location).look()


def test_counts_are_those_of_the_store(tmp_path):
    """Nine volumes of the table and one that planning refused; 4 are committed, 1 of 9 failed."""
    location = a_store(tmp_path, 9, [0, 1, 2, 3], {4: "the file is empty", 77: "it is RGB"})
    put(location, beat())
    status = look(location)
    counts = status.counts
    assert (counts.planned, counts.committed, counts.failed, counts.left) == (10, 4, 2, 4)
    assert counts.slices_left == 20  # four volumes of at most 10 slices, of which half are kept
    assert status.seconds_left == 1.0
    assert status.reasons == (("it is RGB", 1), ("the file is empty", 1))
    assert not status.finished


def test_a_volume_that_failed_and_is_committed_now_is_committed(tmp_path):
    location = a_store(tmp_path, 2, [0], {1: "x"})
    objects = LocalObjects(Path(location))
    kept = {name: objects.get(name) for name in objects.list("failures")}
    a_store(tmp_path, 2, [1], {})
    for name, data in kept.items():  # as a writer that was killed between record and failure leaves it
        objects.put(name, data)
    counts = look(location).counts
    assert (counts.committed, counts.failed, counts.left) == (2, 0, 0)


def test_withdrawn_participants_are_no_part_of_it(tmp_path):
    location = a_store(tmp_path, 3, [0, 1], {2: "x"})
    remove_participant(location, example_key(1).participant_id)
    counts = look(location).counts
    assert (counts.planned, counts.committed, counts.failed) == (2, 1, 1)


@pytest.mark.parametrize("form", ["sealed", "packed", "zip", "h5", "http"])
def test_every_form_of_a_store_answers(tmp_path, form, serve):
    location = a_store(tmp_path, 3, [0, 2], {1: "the file is empty"})
    if form == "zip":
        location = zipped(location)
    elif form == "packed":
        pack(location)
    else:
        seal(location)
    if form == "h5":
        export_store(location, str(tmp_path / "e.h5"))
        location = str(tmp_path / "e.h5")
    if form == "http":
        location = f"{serve(tmp_path).url}/s.zarr"
    status = look(location)
    expected = (2, 2, 0) if form == "h5" else (3, 2, 1)  # an export has no failures
    assert (status.counts.planned, status.counts.committed, status.counts.failed) == expected
    assert status.finished
    assert status.counts.sealed == (form != "zip")
    assert "nobody is at work" not in status_text(status)


def test_a_web_server_that_lists_nothing_is_refused_unless_sealed(tmp_path, serve):
    a_store(tmp_path, 3, [0, 2], {})
    with pytest.raises(StoreError, match=r"not sealed.*does not say which volumes"):
        look(f"{serve(tmp_path).url}/s.zarr")


def test_a_second_look_reads_what_is_new_and_no_more(tmp_path, monkeypatch):
    location = a_store(tmp_path, 4, [0], {})
    observer = Observer(location)
    observer.look()
    read = []
    original = LocalObjects.get
    monkeypatch.setattr(LocalObjects, "get", lambda self, name: read.append(name) or original(self, name))
    a_store(tmp_path, 4, [1, 2], {3: "x"})
    read.clear()
    counts = observer.look().counts
    assert (counts.committed, counts.failed, counts.left) == (3, 1, 0)
    assert not [name for name in read if name.startswith(("table", "records"))]
    a_store(tmp_path, 6, [], {})
    assert observer.look().counts.left == 2


def test_damaged_records_are_counted_and_left_to_verify(tmp_path):
    location = a_store(tmp_path, 3, [0, 1], {})
    for record in Path(location, "records").rglob("*.json"):
        record.write_bytes(b"{}")
    counts = look(location).counts
    assert (counts.committed, counts.left, counts.slices_left) == (2, 1, 10)


def test_workers_are_live_lost_or_ended(tmp_path):
    location = a_store(tmp_path, 9, [0], {})
    silent = before(seconds=HEARD_SECONDS + 660)
    put(
        location,
        beat(pid=1, shard="0/8"),
        beat(pid=2, shard="1/8", waiting_seconds=30.0, slices_per_second=1.5),
        beat(pid=3, shard="3/8", host="node07", job="slurm 12_3", beat=silent, committed=102),
        beat(pid=4, shard="5/8", state="done"),
        beat(pid=5, shard="6/8", state="failed", beat=before(seconds=40)),
        beat(pid=6, shard="7/8", beat=silent, started=before(hours=3)),
        beat(
            pid=7,
            shard="7/8",
            device_name="",
            device="cpu",
            compute_dtype="float32",
            slices_per_second=0,
            started=before(minutes=10),
        ),
    )
    status = look(location)
    crew = status.crew
    assert [member.heartbeat.pid for member in crew.live] == [1, 2, 7]
    assert [(member.heartbeat.pid, member.state) for member in crew.gone] == [(3, "lost"), (5, "failed")]
    assert [member.heartbeat.pid for member in crew.done] == [4]
    # 12000 slices in ten minutes stand in for the one that says nothing of its last minute
    assert crew.slices_per_second() == pytest.approx(20.0 + 1.5 + 20.0, rel=0.1)
    assert waiting_share(crew.live) == pytest.approx(50 / 320)
    text = status_text(status)
    assert "slices/s, about 1 min left" in text
    assert "3 workers heard of in the last 3 min (shards 0-1, 7 of 8)" in text
    assert "2 on NVIDIA A100 (cuda, bfloat16), 1 on AMD EPYC 7763 (cpu, float32)" in text
    assert "waiting for images 16% of the time" in text
    assert "mixed: 2 kinds of device" in text
    assert "shard 3/8 on node07 (slurm 12_3) not heard of for 14 min (last: 102 of 125 volumes)" in text
    assert "shard 6/8 on node01 failed 4" in text
    said = status.as_json()
    assert [worker["state"] for worker in said["workers"]] == ["running"] * 3 + ["lost", "failed", "done"]
    assert json.loads(json.dumps(said)) == said


def test_processors_are_said_where_they_differ(tmp_path):
    location = a_store(tmp_path, 2, [0], {})
    put(location, beat(pid=1), beat(pid=2))
    assert "processors:" not in status_text(look(location))
    put(location, beat(pid=3, processor="Intel Xeon"))
    text = status_text(look(location))
    assert "processors: 2 on AMD EPYC 7763, 1 on Intel Xeon" in text
    assert "mixed" not in text


def test_nobody_at_work_is_said_and_no_time_is_made_up(tmp_path):
    location = a_store(tmp_path, 2, [0], {})
    status = look(location)
    assert status.seconds_left is None
    assert "nobody is at work" in status_text(status)
    put(location, beat(slices=0, committed=0, slices_per_second=0.0, busy_seconds=0.0, waiting_seconds=0.0))
    text = status_text(look(location))
    assert "time left are not known yet" in text
    assert "waiting" not in text


def test_much_waiting_gives_advice(tmp_path):
    location = a_store(tmp_path, 2, [0], {})
    put(location, beat(waiting_seconds=20.0, busy_seconds=80.0))
    assert "advice:" not in status_text(look(location))
    put(location, beat(waiting_seconds=6.0, busy_seconds=4.0))
    assert "advice:" not in status_text(look(location))  # ten seconds say nothing
    put(location, beat(waiting_seconds=30.0, busy_seconds=80.0))
    assert "more cores" in status_text(look(location))


def test_who_is_followed_by_another_on_the_same_host_is_not_missed():
    long_ago = before(hours=1)
    found = crew_of(
        [
            ("a", beat(pid=1, started=before(hours=2), beat=long_ago)),
            ("b", beat(pid=2, host="node02", started=before(hours=2), beat=long_ago)),
            ("c", beat(pid=3)),
        ],
        before(),
    )
    assert [member.heartbeat.pid for member in found.gone] == [2]


def test_a_clock_that_is_ahead_is_heard_of_just_now():
    (member,) = crew_of([("a", beat(beat=before(hours=-1)))], before()).live
    assert member.seconds_ago == 0


def test_reasons_that_differ_in_numbers_are_one():
    found = grouped(["3 slices of 5", "the file is empty", "4 slices of 6", "4 slices of 6"])
    assert found == [("# slices of #", 3), ("the file is empty", 1)]
    assert grouped(["3.5 mm", "3.5 mm"]) == [("3.5 mm", 2)]
    assert grouped([]) == []


def test_of_very_many_failures_some_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("cache_schema.status.reasons.MOST", 2)
    location = a_store(tmp_path, 3, [], {0: "a", 1: "a", 2: "a"})
    text = status_text(look(location))
    assert "3 failed" in text
    assert 'failed (of 2 looked at): 2 x "a"' in text


def test_one_line_is_one_line(tmp_path):
    location = a_store(tmp_path, 2, [0], {1: "x"})
    put(location, beat())
    line = one_line(look(location))
    assert "\n" not in line
    assert "1 of 2 volumes committed, 1 failed, 0 left; 1 worker" in line


slices = st.floats(0, 6.6e11)
speeds = st.floats(0, 1e12)


@given(slices, speeds)
def test_time_left_is_never_negative_and_always_said(left, per_second):
    found = seconds_left(left, per_second)
    assert found is None or 0 <= found <= LONGEST
    assert (found is None) == (left > 0 and (per_second == 0 or left / LONGEST > per_second))
    if found is not None:
        assert duration(found)


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100))))
def test_the_share_that_is_kept_is_a_number(pairs):
    assert 0 < kept_share(pairs) < float("inf")


@given(st.floats(0, LONGEST), st.floats(0, LONGEST))
def test_a_longer_time_is_not_said_to_be_shorter(one, other):
    def minutes(text: str) -> int:
        words = text.split()
        units = {"min": 1, "h": 60, "days": 1440}
        return sum(int(n) * units[unit] for n, unit in zip(words[::2], words[1::2], strict=True))

    short, long = sorted((one, other))
    assert minutes(duration(short)) <= minutes(duration(long)) + (60 if long > 48 * 3600 else 0)
    assert abs(minutes(duration(short)) - short / 60) <= (31 if short > 47 * 3600 else 1)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "1 min"),
        (3569, "59 min"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (172799, "2 days"),
        (200000, "2 days 8 h"),
    ],
)
def test_durations(seconds, said):
    assert duration(seconds) == said
    assert ago(40.4) == "40 s"


@given(st.sets(st.integers(0, 200)))
def test_ranges_hold_every_number_once(numbers):
    found = []
    for text in ranges(numbers):
        first, _, last = text.partition("-")
        found += range(int(first), int(last or first) + 1)
    assert found == sorted(numbers)


def test_no_store_is_a_sentence(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        look(str(tmp_path / "absent.zarr"))
