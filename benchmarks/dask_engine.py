"""The client of the dask engine with stubs for volumes: the scheduler's memory, and workers of unequal speed.

    python benchmarks/dask_engine.py [TASKS]

The scheduler lives in this process. `at once` is what the window is for: every task submitted, every future
kept, as `client.map` does.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from cache_schema.cluster.connect import Workers, connected
from cache_schema.cluster.settings import DaskSettings, WorkerHost
from cache_schema.cluster.window import outcomes
from extract.engines.over_dask.receipt import Receipt

SLOWNESS = {"0": 3.0, "1": 1.0}


def stub(number: int) -> Receipt:
    return Receipt(170, 1.0, "node")


def sleep(asked: tuple[int, float]) -> str:
    from dask.distributed import get_worker

    name = str(get_worker().name)
    time.sleep(asked[1] * SLOWNESS[name])
    return name


def megabytes() -> float:
    return psutil.Process(os.getpid()).memory_info().rss / 1e6


def by_window(workers: Workers, tasks: int) -> None:
    print(
        "| tasks done | MB, client and scheduler | tasks known | ms per task |\n| ---: | ---: | ---: | ---: |"
    )
    start, scheduler = time.monotonic(), workers.client.cluster.scheduler
    given = range(tasks)
    for done, _ in enumerate(outcomes(workers.client, stub, given, "window-{}".format, workers.width), 1):
        if done % (tasks // 5) == 0 or done == 100:
            each = 1000 * (time.monotonic() - start) / done
            print(f"| {done} | {megabytes():.1f} | {len(scheduler.tasks)} | {each:.1f} |", flush=True)


def all_at_once(workers: Workers, tasks: int) -> None:
    before, start = megabytes(), time.monotonic()
    futures = workers.client.map(stub, range(tasks), pure=False)
    workers.client.gather(futures)
    each = 1000 * (time.monotonic() - start) / tasks
    known = len(workers.client.cluster.scheduler.tasks)
    print(f"| {tasks} at once | {megabytes():.1f} (+{megabytes() - before:.1f}) | {known} | {each:.1f} |")


def unequal(workers: Workers) -> None:
    sizes = sorted((0.2 * (1 + number % 4) for number in range(60)), reverse=True)
    start = time.monotonic()
    given = list(enumerate(sizes))
    names = [
        name for _, name in outcomes(workers.client, sleep, given, lambda one: f"u-{one[0]}", workers.width)
    ]
    took, balanced = time.monotonic() - start, sum(sizes) / (1 + 1 / 3)
    shares = {name: names.count(name) for name in sorted(SLOWNESS)}
    print(f"\nspeeds 1 and 3: {took:.2f} s, {took / balanced:.3f} of the balanced time; volumes {shares}")


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        one_thread_each = WorkerHost(cores=2, gpus=0)
        with connected(DaskSettings(workers=2), None, one_thread_each, Path(folder)) as workers:
            by_window(workers, tasks)
            all_at_once(workers, tasks)
            unequal(workers)


if __name__ == "__main__":
    main()
