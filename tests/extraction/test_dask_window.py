"""The client of the dask engine: a window of tasks, deaths, unequal workers; stubs in place of volumes."""

import pickle
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

import dask
from dask.distributed import Client, KilledWorker, LocalCluster, get_worker

from cache_schema.cluster.connect import Workers, connected
from cache_schema.cluster.settings import NO_DASHBOARD, DaskSettings, WorkerHost
from cache_schema.cluster.window import outcomes
from cache_schema.common.errors import ConfigError, MachineError
from extract.engines.over_dask.receipt import Receipt, cut

SLOWNESS = {"0": 3.0, "1": 1.0}
device = defaultdict(threading.Lock)


@pytest.fixture(scope="module")
def workers():
    """Two workers of two threads in this process."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=False, scheduler_kwargs=NO_DASHBOARD
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield Workers(client, ours=True, most_threads=4)


def take_time(asked):
    """A volume: read beside others, embedded one at a time, on a worker that may be slow."""
    name = str(get_worker().name)
    with device[name]:
        time.sleep(asked[1] * SLOWNESS[name])
    return name


def test_workers_of_unequal_speed_end_together(workers):
    sizes = sorted((0.04 * (1 + n % 4) for n in range(40)), reverse=True)
    balanced, ends = sum(sizes) / (1 + 1 / 3), []
    for attempt in range(3):  # what else the machine does makes workers more equal than they are
        busy, asked = dict.fromkeys(SLOWNESS, 0.0), list(enumerate(sizes))
        for (_, size), name in outcomes(
            workers.client,
            take_time,
            asked,
            lambda n, attempt=attempt: f"unequal-{attempt}-{n[0]}",
            workers.width,
        ):
            busy[name] += size * SLOWNESS[name]  # by no clock
        assert sum(busy[name] / SLOWNESS[name] for name in busy) == pytest.approx(sum(sizes))
        ends.append(max(busy.values()) / balanced)
        if ends[-1] <= 1.3:
            return
    assert min(ends) <= 1.3, ends  # as many volumes for each would be 2.0


def test_no_more_than_the_window_is_ever_under_way(workers):
    lock, under_way, most = threading.Lock(), [0], [0]

    def name(number):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        return f"window-{number}"

    came, known = [], []
    for _, number in outcomes(workers.client, abs, range(60), name, lambda: 5):
        under_way[0] -= 1
        came.append(number)
        known.append(len(workers.client.cluster.scheduler.tasks))
    assert sorted(came) == list(range(60))
    assert most[0] == 5
    assert max(known) <= 10  # the scheduler hears a moment later what was let go
    assert nothing_left(workers.client)


def nothing_left(client):
    """Whether the scheduler forgets all tasks; it is told of it from another thread."""
    end = time.monotonic() + 5
    while client.cluster.scheduler.tasks and time.monotonic() < end:
        time.sleep(0.01)
    return not client.cluster.scheduler.tasks


def failing(number):
    if number == 3:
        raise ConfigError(f"number {number}")
    return number


def test_an_error_comes_back_as_what_it_is_and_the_others_go_on(workers):
    came = dict(outcomes(workers.client, failing, range(6), lambda n: f"failing-{n}", lambda: 2))
    assert isinstance(came[3], ConfigError)
    assert [came[n] for n in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]


def test_who_stops_listening_leaves_nothing_behind(workers):
    came = outcomes(workers.client, failing, range(50), lambda n: f"left-{n}", lambda: 4)
    next(came)
    came.close()
    assert nothing_left(workers.client)


class Giving:
    """A client that gives up what runs beside a killer with it, as dask does, and alone only the killer."""

    status = "running"

    def submit(self, function, each, key, pure):
        alone = key.endswith("-alone")
        return Given(
            key, KilledWorker(key, None, 3) if each == 2 or (each < 4 and not alone) else function(each)
        )


class Given:
    def __init__(self, key, came):
        self.key, self.came = key, came
        self.status = "error" if isinstance(came, Exception) else "finished"

    def add_done_callback(self, call):
        call(self)

    def exception(self):
        return self.came

    def result(self):
        return self.came

    def release(self):
        pass


def test_only_what_kills_its_worker_alone_is_given_up():
    came = dict(outcomes(Giving(), str, range(6), lambda n: f"task-{n}", lambda: 3))
    assert isinstance(came.pop(2), KilledWorker)
    assert came == {n: str(n) for n in (0, 1, 3, 4, 5)}


@pytest.mark.parametrize("when", ["asked for its workers", "asked for a result"])
def test_a_scheduler_that_is_gone_is_one_sentence(when, monkeypatch):
    class Gone(Giving):
        scheduler, _start_arg = None, "tcp://gone:1"

    def width():
        if when == "asked for its workers":
            raise OSError("Timed out")
        return 1

    def result(self):
        raise OSError("closed")

    monkeypatch.setattr(Given, "result", result)
    with pytest.raises(MachineError, match=r"tcp://gone:1.*went away"):
        list(outcomes(Gone(), str, [7], str, width))


def test_a_receipt_is_below_a_kilobyte():
    worst = Receipt(100_000, 1e5, "h" * 64, cut("ü" * 5000))
    assert len(pickle.dumps(worst)) < 1000
    assert cut("short") == "short"


def test_nobody_at_the_address_is_one_sentence():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(MachineError, match=r"tcp://127\.0\.0\.1:9"),
        connected(DaskSettings(), "tcp://127.0.0.1:9", WorkerHost(2, 0), Path()),
    ):
        pass


def test_no_address_at_all_is_one_sentence():
    here = WorkerHost(2, 0)
    with pytest.raises(ConfigError, match="ftp"), connected(DaskSettings(), "ftp://nobody", here, Path()):
        pass


def test_no_batch_system_here_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    lsf, job = DaskSettings(cluster="lsf"), WorkerHost(2, 0)
    with pytest.raises(ConfigError, match="bsub"), connected(lsf, None, job, Path()):
        pass


@pytest.mark.parametrize(
    ("cores", "gpus", "expected"), [(1, 0, 1), (4, 0, 1), (9, 0, 3), (64, 4, 4), (2, 8, 2)]
)
def test_a_worker_for_each_gpu_or_for_every_four_cores(cores, gpus, expected):
    assert WorkerHost(cores, gpus).workers == expected
