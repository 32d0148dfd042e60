"""A process for each of several GPUs: shares, one writer per volume, what ends badly. No GPU is needed."""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from functools import partial
from multiprocessing.connection import Connection, wait
from types import SimpleNamespace

import pytest
import torch
from made_up_inputs import write_inputs, write_manifest
from slow_cohort import cohort

from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.common.pipeline_file import load_pipeline
from extract import extraction
from extract.cli import read_extract_section
from extract.engines import device as devices
from extract.engines.device import Machine, choose_workers, gpus_to_divide, visible_gpus
from extract.engines.local import EngineTally
from extract.engines.over_gpus import engine, share
from extract.engines.over_gpus.engine import over_gpus, shares
from extract.engines.waiting import Stopwatch
from extract.extraction import run_extraction

TWO = partial(over_gpus, ("0", "1"))
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
STORES = "extract.stores={main: {}, other: {slices: {kind: all}}}"


def extract(file, *overrides, **options):
    pipeline = load_pipeline(file, overrides)
    return run_extraction(pipeline, read_extract_section(pipeline), progress=False, **options)


def taken(file, *overrides):
    """What is left to do, as an engine is given it, and nothing done."""
    seen = []
    extract(file, *overrides, engine=lambda lefts, progress: seen.extend(lefts))
    return seen


@pytest.mark.parametrize(
    ("visible", "count", "found"),
    [("", 0, ()), ("", 2, ("0", "1")), ("3,5", 2, ("3", "5")), ("GPU-a,GPU-b,-1", 2, ("GPU-a", "GPU-b"))],
)
def test_gpus_are_those_that_torch_sees(monkeypatch, visible, count, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert visible_gpus() == found


def test_several_gpus_are_divided_unless_told(monkeypatch):
    monkeypatch.setattr(devices, "visible_gpus", lambda: ("0", "1", "2"))
    assert gpus_to_divide(None, CUDA) == ("0", "1", "2")
    assert gpus_to_divide(2, CUDA) == ("0", "1")
    assert gpus_to_divide(1, CUDA) == gpus_to_divide(None, CPU) == gpus_to_divide(1, CPU) == ()
    with pytest.raises(ConfigError, match=r"extract\.gpus is 4, but there are 3 GPUs"):
        gpus_to_divide(4, CUDA)
    with pytest.raises(ConfigError, match=r"extract\.gpus is 2, but there are 0 GPUs"):
        gpus_to_divide(2, CPU)
    monkeypatch.setattr(devices, "visible_gpus", lambda: ("0",))
    assert gpus_to_divide(None, CUDA) == ()


def test_processes_share_the_cores_that_decode():
    eight = Machine(cuda_capability=(9, 0), cpu_count=8)
    assert choose_workers(None, CUDA, eight, 100, 2) == 3
    assert choose_workers(None, CUDA, eight, 100, 8) == 1
    assert choose_workers(6, CUDA, eight, 100, 4) == 2
    assert choose_workers(0, CUDA, eight, 100, 4) == 0


def test_every_volume_is_in_one_share_for_all_its_stores(tmp_path):
    lefts = taken(write_inputs(tmp_path), STORES)
    found = shares(("7", "8", "9"), lefts, "1/4")
    assert [each.device for each in found] == ["7", "8", "9"]
    assert {(each.shard, each.beside) for each in found} == {("1/4", 3)}
    for place, left in enumerate(lefts):
        keys = Counter(
            planned.candidate.key for each in found for store in each.stores if store.place == place
            for planned in store.volumes
        )  # fmt: skip
        assert keys == Counter(planned.candidate.key for planned in left.pending.volumes)
    owners: dict[str, set[str]] = {}
    for each in found:
        for store in each.stores:
            for planned in store.volumes:
                owners.setdefault(planned.candidate.key.participant_id, set()).add(each.device)
    assert len(owners) == 5
    assert all(len(own) == 1 for own in owners.values())
    assert len(shares(tuple("abcdefgh"), lefts, "")) == 5  # nobody starts a process for nothing


@pytest.fixture
def in_threads(monkeypatch):
    """Processes are threads here: the same messages, without two starts of torch."""
    here = threading.Lock()

    class Thread(threading.Thread):
        exitcode = 0

        def terminate(self) -> None: ...

    def one(given, pipe):
        with here:  # a process has an environment and signals of its own
            share.embed_share(given, pipe)

    def made(target, args, name):
        given, pipe = args  # and ends of a pipe
        return Thread(target=one, args=(given, Connection(os.dup(pipe.fileno()), readable=False)), name=name)

    context = SimpleNamespace(Process=made, Pipe=multiprocessing.Pipe)
    monkeypatch.setattr(engine.multiprocessing, "get_context", lambda kind: context)
    monkeypatch.setattr(share.signal, "signal", lambda *given: None)
    monkeypatch.setattr(share.torch, "set_num_threads", lambda n: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_the_store_is_that_of_one_process(tmp_path, in_threads):
    file = write_inputs(tmp_path)
    (tmp_path / "broken.nii").write_bytes(b"no image")
    write_manifest(tmp_path, ("twin", "path", "broken.nii"))
    alone = extract(file, STORES, "run.folder=alone", "cache.store=alone/cache.zarr", "extract.workers=0")
    both = extract(file, STORES, "extract.workers=0", engine=TWO)
    for ours, theirs in zip(both.every, alone.every, strict=True):
        assert ours.content_digest == theirs.content_digest
        assert (ours.embedded, ours.slices, ours.failed) == (theirs.embedded, theirs.slices, 1)
        assert ours.stages.keys() == theirs.stages.keys()
        assert [f.reason for f in ours.failures] == [f.reason for f in theirs.failures]
        assert ours.busy_seconds > 0
    again = extract(file, STORES, engine=TWO)
    assert (again.embedded, again.skipped) == (0, 4)


def test_what_one_process_cannot_do_is_raised_when_the_others_are_done(tmp_path, in_threads, monkeypatch):
    file, real = write_inputs(tmp_path), share.embed_here

    def full(lefts, *given):
        if os.environ["CUDA_VISIBLE_DEVICES"] == "1":
            raise MachineError("cannot write: the disk is full")
        real(lefts, *given)

    monkeypatch.setattr(share, "embed_here", full)
    with pytest.raises(MachineError, match=r"disk is full; [23] volumes were committed before that and stay"):
        extract(file, "extract.workers=0", engine=TWO)
    monkeypatch.setattr(share, "embed_here", real)
    assert extract(file, "extract.workers=0").skipped in (2, 3)


def test_an_error_that_cannot_travel_comes_as_words(tmp_path, in_threads, monkeypatch):
    class Local(Exception):
        """Of a class that nobody can import."""

    def odd(*given):
        raise Local("odd")

    monkeypatch.setattr(share, "embed_here", odd)
    with pytest.raises(RuntimeError, match="Local: odd"):
        extract(write_inputs(tmp_path), engine=partial(over_gpus, ("0",)))


def test_a_local_extraction_divides_the_gpus_that_there_are(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        extraction, "gpus_to_divide", lambda asked, device: ("4", "5") if asked is None else ()
    )
    monkeypatch.setattr(
        extraction, "over_gpus", lambda gpus, lefts, shown, shard: given.append((gpus, shard))
    )
    monkeypatch.setattr(extraction, "embed_here", lambda lefts, shown, shard: given.append("here"))
    file = write_inputs(tmp_path)
    extract(file)
    extract(file, "extract.gpus=1")
    assert given == [(("4", "5"), ""), "here"]


def test_the_time_of_several_devices_adds_up():
    now = iter([0.0, 5.0, 5.0, 9.0, 9.0, 12.0])
    watch = Stopwatch(lambda: next(now))
    list(watch.over(lambda: iter([1]), lambda waited: waited))
    watch.stop()
    total = EngineTally(embedded=1, stages={"read": 1.0}, notes=["a"])
    own = EngineTally(embedded=2, slices=7, stages={"read": 2.0, "embed": 3.0}, notes=["a", "b"], time=watch)
    for _ in range(2):
        total.add(own.at_rest())
    assert (total.embedded, total.slices, total.notes) == (5, 14, ["a", "b"])
    assert total.stages == {"read": 5.0, "embed": 6.0}
    assert total.time.busy_seconds == 2 * watch.busy_seconds > 0


def beside(file, *overrides):
    """An extraction by one process, and how two of them, really spawned, make the same store in a folder."""
    options = ("extract.workers=0", *overrides)
    alone = extract(file, "run.folder=alone", "cache.store=alone/cache.zarr", *options)

    def apart(name: str, engine=TWO):
        places = (f"run.folder={name}", f"cache.store={name}/cache.zarr")
        return extract(file, *places, *options, engine=engine)

    return alone, apart


@pytest.mark.slow
def test_processes_of_their_own_and_one_that_is_killed(tmp_path, monkeypatch):
    alone, apart = beside(write_inputs(tmp_path))
    assert apart("both").content_digest == alone.content_digest
    listen = engine._listen

    def killing(running, progress):
        os.kill(running[0].process.pid, signal.SIGKILL)
        listen(running, progress)

    monkeypatch.setattr(engine, "_listen", killing)
    with pytest.raises(MachineError, match=r"process on GPU 0 died \(exit code -9\).*goes on from there"):
        apart("killed")
    rest = apart("killed", None)
    assert rest.skipped > 0
    assert rest.content_digest == alone.content_digest


@pytest.mark.slow
def test_an_interruption_ends_the_processes_and_leaves_a_clean_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOW_SECONDS", "0")
    # With torch, since a compiled graph does not sleep: seconds are left when a first volume is committed.
    file = cohort(tmp_path) / "pipeline.yaml"
    alone, apart = beside(file, "extract.engine=torch", "extract.dtype=float32")
    seen, working = [], []

    def interrupted(running, progress):
        seen.extend(running)
        working.extend(wait([one.pipe for one in running], 60))  # a first volume of five
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(engine, "_listen", interrupted)
        during.setenv("SLOW_SECONDS", "2")
        with pytest.raises(KeyboardInterrupt):
            apart("cut")
    assert working
    for one in seen:
        # One that is still starting has no handler yet, and nothing to tear.
        starting = () if one.pipe in working else (-signal.SIGTERM,)
        assert one.process.exitcode in (128 + signal.SIGTERM, *starting)
    rest = apart("cut", None)
    assert rest.skipped > 0
    assert rest.content_digest == alone.content_digest
