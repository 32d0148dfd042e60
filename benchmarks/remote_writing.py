"""What it costs to write a store to a bucket: seconds and requests a commit, beside the same in a folder.

A small server of the tests' own, in another process on this machine, answers at once or after a wait that
stands for the way to a server elsewhere; or the S3 server that the environment names (`--there`).

    python benchmarks/remote_writing.py --volumes 40 --wait-ms 0 20
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import obstore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bucket_server import S3, speaking_s3
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, tiny_png

from cache_schema.store.writer import StoreWriter

SLICES = 160


def serve(wait: float, told: Connection) -> None:
    """Serve until the other side has enough."""
    with speaking_s3(S3(wait=wait)) as s3:
        told.send(s3.environment)
        told.poll(None)


@contextmanager
def served(wait: float) -> Iterator[None]:
    """A bucket that another process serves, named by the environment."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(wait, theirs))
    process.start()
    try:
        with patch.dict(os.environ, ours.recv()):
            yield
    finally:
        ours.send("enough")
        process.join()


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Requests by kind."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def counting(kind: str, function: Any) -> Any:
        def wrapped(*given: Any, **named: Any) -> Any:
            with lock:
                seen[kind] += 1
            return function(*given, **named)

        return wrapped

    kinds = ("get", "put", "head", "delete", "list")
    with patch.multiple(obstore, **{kind: counting(kind, getattr(obstore, kind)) for kind in kinds}):
        yield seen


def measure(place: str, volumes: int, threads: int) -> str:
    """Write a store with `cls` and `patch_mean` of 160 slices of 384 numbers; a row of the table."""
    header = example_header(dim=384, slice_chunk=SLICES)
    rows = [example_row(example_key(number), SLICES) for number in range(volumes)]
    parts = [
        (example_draft(row.key, SLICES), example_arrays(header, SLICES, number), tiny_png(number % 256))
        for number, row in enumerate(rows)
    ]
    with counted() as seen:
        started = time.perf_counter()
        writer = StoreWriter.open(place, header, rows)
        opened, to_open = time.perf_counter() - started, seen.total()
        seen.clear()
        started = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: writer.commit(*part), parts))
        each = (time.perf_counter() - started) / volumes
    said = ", ".join(f"{number / volumes:.1f} {kind}" for kind, number in seen.most_common())
    return (
        f"{threads} at a time: {each * 1e3:6.1f} ms a commit; {seen.total() / volumes:.1f} requests "
        f"({said or 'none'}); made in {opened:.2f} s, {to_open} requests"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=40)
    parser.add_argument("--wait-ms", type=float, nargs="+", default=[0.0, 20.0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--there", help="a URL in a bucket of the server that the environment names")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"a folder, {measure(f'{folder}/store', given.volumes, 1)}")
    for wait in given.wait_ms if given.there is None else [0.0]:
        with served(wait / 1e3) if given.there is None else nullcontext():
            for threads in given.threads:
                url = f"{given.there or 's3://cohort'}/by-{threads}-{os.getpid()}.zarr"
                what = given.there or f"answers after {wait:.0f} ms"
                print(f"{what}, {measure(url, given.volumes, threads)}", flush=True)


if __name__ == "__main__":
    main()
