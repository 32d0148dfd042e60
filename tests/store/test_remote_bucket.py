"""Writing a store to a bucket: servers with, without and with leaky conditions, late lists, lost answers."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from bucket_server import S3, speaking_s3
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, tiny_png

from cache_schema.common.errors import MachineError, StoreError
from cache_schema.files.locate import open_writable
from cache_schema.files.remote import bucket as bucket_module
from cache_schema.files.remote.bucket import Bucket
from cache_schema.format.header import Numerics
from cache_schema.format.layout import HEADER, NUMERICS, SEALED_INDEX, record_name
from cache_schema.move.remove import readmit, remove_participant
from cache_schema.store.commit import encode_record
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.table import encode_segment, segment_name
from cache_schema.store.writer import StoreWriter
from cache_schema.store.writing import create_in_bucket as creation
from cache_schema.store.writing.drafts import draft_record, stored_arrays
from cache_schema.verify.verify import verify_store
from cache_schema.workers.heart import Heart, WorkDone, Worker

URL = "s3://cohort/study/cache.zarr"
SECONDS = 0.1
N = 5
CONDITIONS = ("kept", "unknown", "leaky")


@pytest.fixture
def s3(monkeypatch):
    with speaking_s3(S3()) as s3:
        for name, value in {**s3.environment, "SLICECACHE_REMOTE_RETRIES": "2"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(bucket_module, "SETTLE_SECONDS", SECONDS)
        monkeypatch.setattr(bucket_module, "_UNCONDITIONAL", set())
        yield s3


@pytest.fixture
def header():
    return example_header(slice_chunk=5)


def rows(*numbers):
    return [example_row(example_key(number), 5) for number in numbers]


def commit(writer, *numbers):
    for number in numbers:
        arrays = example_arrays(writer.header, 5, number)
        writer.commit(example_draft(example_key(number), 5), arrays, tiny_png(number))


def assert_as_a_folder(tmp_path, header, numbers=range(N)):
    writer = StoreWriter.open(str(tmp_path / "folder"), header, rows(*numbers))
    commit(writer, *numbers)
    assert open_store(URL).content_digest() == open_store(tmp_path / "folder").content_digest()
    found = verify_store(URL, full=True)
    assert (found.problems, found.n_volumes) == ((), len(numbers))


def objects_of(s3, text):
    return sorted(name for name in s3.objects if text in name)


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_of_several_that_create_one_wins_and_the_others_see_it(s3, conditions):
    s3.conditions = conditions
    givers = [str(number).encode() for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for round_ in range(3):
            name = f"table/{round_}"
            won = list(pool.map(lambda data, name=name: Bucket(URL).create(name, data), givers))
            assert sum(won) == 1
            assert Bucket(URL).get(name) == givers[won.index(True)]


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_a_creation_whose_answer_was_lost_is_ones_own(s3, conditions):
    s3.conditions, s3.lost = conditions, {"study/cache.zarr/x.json": 1}
    assert Bucket(URL).create("x.json", b"mine")
    assert not Bucket(URL).create("x.json", b"yours")
    assert Bucket(URL).get("x.json") == b"mine"


def test_objects_are_put_deleted_and_never_kept(s3):
    ours, theirs = Bucket(URL), Bucket(URL)
    ours.put("header.json", b"1")
    assert theirs.get("header.json") == b"1"
    before = theirs.stamp("header.json")
    ours.put("header.json", b"2")
    assert (theirs.get("header.json"), theirs.stamp("header.json") != before) == (b"2", True)
    with ours.together():
        for number in range(200):
            ours.put(f"cls/c.{number}", bytes(number))
        ours.delete("header.json")
    assert theirs.get("cls/c.150") == bytes(150)
    assert theirs.get("header.json") is theirs.stamp("header.json") is None
    ours.delete("header.json")


def test_what_fails_in_a_block_is_said_when_it_ends(s3):
    s3.refused = {"PUT": 403}
    bucket = Bucket(URL)

    def block():
        with bucket.together():
            bucket.put("x", b"")

    with pytest.raises(MachineError, match=r"cannot write 's3://cohort/study/cache.zarr/x'.*403 Forbidden"):
        block()
    with pytest.raises(MachineError, match=r"cannot write .*403"):
        bucket.require_writable()
    s3.refused = {"PUT": 500}
    with pytest.raises(MachineError, match="500 Internal"):
        bucket.create("x", b"")
    s3.refused = {"POST": 403}
    with pytest.raises(MachineError, match=r"cannot delete .*403"):
        bucket.delete("x")


def test_a_web_server_is_only_read(header):
    for place in ("https://somewhere/cache.zarr", "http://127.0.0.1:9/cache.zarr"):
        with pytest.raises(StoreError, match="seal takes a folder or a bucket"):
            open_writable(place, "seal")
        with pytest.raises(StoreError, match="only read"):
            Bucket(place)


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_a_store_is_written_as_to_a_folder(s3, header, tmp_path, conditions):
    s3.conditions = conditions
    commit(StoreWriter.open(URL, header, rows(0, 1)), 0, 1)
    commit(StoreWriter.open(URL, header, rows(*range(N))), 2, 3)
    writer = StoreWriter.open(URL, header, rows(*range(N)))
    assert writer.record(example_key(3)) is not None
    commit(writer, 4)
    assert_as_a_folder(tmp_path, header)
    assert objects_of(s3, "/tmp/") == []


def test_few_requests_a_commit(s3, header):
    writer = StoreWriter.open(URL, header, rows(*range(N)))
    commit(writer, 0)
    s3.asked.clear()
    commit(writer, 1)
    methods = [method for method, _ in s3.asked]
    assert len(methods) <= 25, s3.asked
    assert methods.count("PUT") == 4  # two arrays, a preview, a record


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_racers_create_one_store_and_lose_nothing(s3, header, tmp_path, conditions):
    s3.conditions = conditions
    mine = [(0, 1, 2), (0, 1, 2), (2, 3, 4)]  # two planned the same, the third something else
    said = []

    def work(numbers):
        for _ in range(4):
            try:
                commit(StoreWriter.open(URL, header, rows(*numbers)), *numbers)
                return
            except MachineError as error:
                said.append(str(error))
        raise AssertionError("four times a loser")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, mine))
    assert all(re.search("run the same command again|the same command goes on", text) for text in said)
    assert_as_a_folder(tmp_path, header)


def test_a_creation_that_is_cut_anywhere_is_no_store_and_is_finished(s3, header, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket_module, "SETTLE_SECONDS", 0.0)
    for cut in range(20):
        s3.objects.clear()
        left, real = iter(range(cut)), Bucket._put

        def put(self, *given, real=real, left=left, **named):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(self, *given, **named)

        with monkeypatch.context() as patched:
            patched.setattr(Bucket, "_put", put)
            try:
                StoreWriter.open(URL, header, rows(*range(N)))
                done = True
            except KeyboardInterrupt:
                done = False
                assert f"study/cache.zarr/{HEADER}" not in s3.objects or cut > 4
        writer = StoreWriter.open(URL, header, rows(*range(N)))
        if done:
            break
    assert cut > 4
    commit(writer, *range(N))
    assert_as_a_folder(tmp_path, header)


def test_a_creation_of_another_store_is_not_gone_over(s3, header):
    other = example_header(slice_chunk=5, weights="others")
    Bucket(URL).put(creation.CLAIM, creation.encode_header(other))
    with pytest.raises(StoreError, match=r"weights_sha256.*begun and not finished.*tmp/header.json"):
        StoreWriter.open(URL, header, rows(0))
    Bucket(URL).put(creation.CLAIM, b"no header")
    with pytest.raises(StoreError, match=r"damaged.*if nothing is making a store there now, delete"):
        StoreWriter.open(URL, header, rows(0))


def test_a_planner_that_lost_its_rows_stops_and_harms_nobody(s3, header):
    slow = StoreWriter.open(URL, header, rows(0, 1))
    Bucket(URL).put(segment_name(0), encode_segment(0, 5, rows(2, 3)))  # whose put came later
    fast = StoreWriter.open(URL, header, rows(2, 3))
    commit(fast, 2)
    with pytest.raises(MachineError, match=r"the row of p000.*is another's now.*plan --create"):
        commit(slow, 0)
    assert verify_store(URL, full=True).problems == ()
    commit(StoreWriter.open(URL, header, rows(0, 1, 2, 3)), 0, 1)
    assert len(open_store(URL).entries) == 3


def test_rows_that_are_lost_while_a_volume_is_written(s3, header, monkeypatch):
    slow, real = StoreWriter.open(URL, header, rows(0, 1)), Bucket.put

    def put(self, name, data):
        real(self, name, data)
        if name == record_name(example_key(0)):
            real(self, segment_name(0), encode_segment(0, 5, rows(2, 3)))
            real(self, "cls/c.0.0.0", b"another's")

    monkeypatch.setattr(Bucket, "put", put)
    with pytest.raises(MachineError, match="is another's now"):
        commit(slow, 0)
    assert Bucket(URL).get("cls/c.0.0.0") == b"another's"
    assert open_store(URL).entries == ()


def test_numerics_that_are_anothers_take_ones_commits_back(s3, header):
    header = example_header(slice_chunk=5, compute="auto")
    writer = StoreWriter.open(URL, header, rows(0, 1))

    def fixed(compute):
        return Numerics(**header.numerics.model_dump() | {"compute_dtype": compute})

    writer.fix_numerics(fixed("float32"), "cpu", {})
    commit(writer, 0)
    lost = s3.objects.pop(f"study/cache.zarr/{NUMERICS}")
    StoreWriter.open(URL, header, rows(0, 1)).fix_numerics(fixed("bfloat16"), "cuda", {})
    with pytest.raises(MachineError, match=r"the numerics of .* are another program's now, and 2 volumes"):
        commit(writer, 1)
    assert objects_of(s3, "/records/") == []
    s3.objects[f"study/cache.zarr/{NUMERICS}"] = lost
    commit(writer, 0, 1)
    assert len(open_store(URL).entries) == 2


def test_lists_that_are_late_hide_nothing(s3, header, tmp_path):
    s3.lists = False
    for numbers in ((0, 1), range(N)):
        commit(StoreWriter.open(URL, header, rows(*numbers)), *numbers)
    assert len(open_store(URL).entries) == N
    seal(URL)
    s3.lists = True
    assert_as_a_folder(tmp_path, header)


def test_a_seal_is_made_and_taken_off(s3, header, tmp_path):
    commit(StoreWriter.open(URL, header, rows(0, 1)), 0)
    with pytest.raises(StoreError, match="not complete: 1 volume"):
        seal(URL)
    commit(StoreWriter.open(URL, header, rows(0, 1)), 1)
    seal(URL)
    assert open_store(URL).sealed
    writer = StoreWriter.open(URL, header, rows(0, 1))
    writer.remove_record(example_key(1))
    assert writer.record(example_key(1)) is None, "a record from the seal that was taken off"
    assert objects_of(s3, "/sealed/") == []
    commit(writer, 1)
    assert not open_store(URL).sealed
    assert_as_a_folder(tmp_path, header, range(2))


def test_a_record_that_is_replaced_while_the_seal_is_made(s3, header, monkeypatch):
    writer, real = StoreWriter.open(URL, header, rows(0)), Bucket.put
    commit(writer, 0)

    def put(self, name, data):
        real(self, name, data)
        if name == SEALED_INDEX:
            with monkeypatch.context() as patched:
                patched.setattr(Bucket, "put", real)
                writer._objects.delete(record_name(example_key(0)))
                commit(writer, 0)

    monkeypatch.setattr(Bucket, "put", put)
    with pytest.raises(StoreError, match="is being written to"):
        seal(URL)
    assert not open_store(URL).sealed


def test_a_participant_is_taken_out_for_good(s3, header, tmp_path):
    writer = StoreWriter.open(URL, header, rows(*range(N)))
    commit(writer, *range(N))
    seal(URL)
    before = len(s3.objects)
    remove_participant(URL, "p002")
    assert len(s3.objects) == before - 4 + 1  # two chunks, record, preview; a tombstone
    assert objects_of(s3, example_key(2).digest) == []
    assert [entry.key for entry in open_store(URL).entries] == [example_key(n) for n in (0, 1, 3, 4)]
    assert (open_store(URL).sealed, verify_store(URL, full=True).problems) == (True, ())
    with pytest.raises(StoreError, match="withdrawn"):
        commit(writer, 2)
    readmit(URL, ["p002"])
    commit(StoreWriter.open(URL, header, rows(*range(N))), 2)
    assert_as_a_folder(tmp_path, header)


def test_a_worker_is_heard_of(s3, header):
    StoreWriter.open(URL, header, rows(0))
    worker = Worker("cpu", "", "float32", "a processor", "", 1)
    with Heart(URL, worker, lambda: WorkDone(0, 0, 0, 0.0, 0.0), every=0.01) as heart:
        pass
    assert (heart.notes, len(objects_of(s3, "/workers/"))) == ([], 1)


def test_a_twin_that_puts_its_record_over_ours(s3, header, monkeypatch):
    ours, theirs = (StoreWriter.open(URL, header, rows(0)) for _ in range(2))
    draft = example_draft(example_key(0), 5)
    other = draft_record(header, 0, draft, stored_arrays(header, draft, example_arrays(header, 5, 9)))
    real, once = StoreWriter._look_again, iter([True])

    def look_again(self, record):
        if next(once, False):
            theirs._objects.put(record_name(other.key), encode_record(other.signed()))
        real(self, record)

    monkeypatch.setattr(StoreWriter, "_look_again", look_again)
    commit(ours, 0)
    assert verify_store(URL, full=True).problems == ()
