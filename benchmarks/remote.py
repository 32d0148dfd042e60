"""What a store behind a URL costs: requests, and time beside the same store in a folder.

A web server in a process of its own on this machine gives the store, at once or after a wait that stands for
the way to a server elsewhere. `requests alone` asks for the same objects by as many threads and drops them.

    python benchmarks/remote.py --volumes 300 --wait-ms 0 20
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import obstore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row
from serving import Fault, Handler, Site, serving

from cache_schema.files.chunks import pieces as read_pieces
from cache_schema.move.pack import pack
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store


def write_stores(folder: Path, n_volumes: int) -> None:
    """`plain` and `packed` with `cls` of 160 slices of 384 numbers, sealed."""
    header = example_header(("cls",), dim=384, slice_chunk=160)
    rows = [example_row(example_key(number), 160) for number in range(n_volumes)]
    writer = StoreWriter.open(str(folder / "plain"), header, rows)
    for number, row in enumerate(rows):
        writer.commit(example_draft(row.key, 160), example_arrays(header, 160, number))
    seal(str(folder / "plain"))
    pack(str(folder / "plain"), str(folder / "packed"))


def serve(folder: Path, wait: float, told: Connection) -> None:
    """Serve until the other side is gone."""

    def late(handler: Handler) -> None:
        time.sleep(wait)
        handler.gives()

    with serving(Site(folder, faults=[Fault(late)])) as site:
        told.send(site.url)
        told.poll(None)


@contextmanager
def served(folder: Path, wait: float) -> Iterator[str]:
    """The URL of a folder that another process serves."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, wait, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("enough")
        process.join()


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every request by its object's name."""
    asked: list[str] = []
    lock = threading.Lock()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(place: Any, name: str, **options: Any) -> Any:
            with lock:
                asked.append(name)
            return function(place, name, **options)

        return wrapped

    with (
        patch.object(obstore, "get", counting(obstore.get)),
        patch.object(obstore, "get_range", counting(obstore.get_range)),
    ):
        yield asked


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """The median of some runs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def requests_alone(url: str, names: list[str], threads: int) -> None:
    """Ask for objects and drop them."""
    place = obstore.store.from_url(url, client_options={"allow_http": True})
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda name: len(obstore.get(place, name).bytes()), names))


def measure(folder: Path, url: str, name: str, repeats: int, threads: list[int]) -> None:
    """Print a row for one store."""
    here = open_store(folder / name)
    local = seconds(lambda: here.read("cls"), repeats)
    n = len(here.entries)
    with counted() as asked:
        opened = seconds(lambda: open_store(f"{url}/{name}"), 1)
        to_open = len(asked)
        there = open_store(f"{url}/{name}")
        asked.clear()
        there.read("cls")
        whole = [one for one in asked if "/c." in one]
        asked.clear()
        some = here.entries[::2]
        there.read("cls", some)
        half = len(asked)
        asked.clear()
        assert verify_store(f"{url}/{name}").ok
        to_verify = len(asked)
    print(
        f"  {name}: {to_open} requests open it ({opened * 1e3:.0f} ms); requests a volume: "
        f"{len(whole) / n:.3f} to read all, {half / len(some):.3f} every second one, {to_verify / n:.2f} to "
        f"verify; the folder {local * 1e3:.0f} ms"
    )
    for count in threads:
        with patch.multiple(read_pieces, URL_THREADS=count, URL_SHARDS=count):
            read = statistics.median(timed(open_store(f"{url}/{name}")) for _ in range(repeats))
        alone = seconds(lambda c=count: requests_alone(f"{url}/{name}", sorted(set(whole)), c), repeats)
        print(
            f"    {count:>2} threads: {read * 1e3:.0f} ms, {read / local:.1f} times the folder; requests "
            f"alone {alone * 1e3:.0f} ms"
        )


def timed(store: StoreReader) -> float:
    """Seconds to read a store that was just opened, and remembers no index."""
    return seconds(lambda: store.read("cls"), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--wait-ms", type=float, nargs="+", default=[0.0, 20.0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4, 8, 16, 32])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_stores(folder, given.volumes)
        bytes_read = given.volumes * 160 * 384 * np.dtype("float16").itemsize
        print(f"{given.volumes} volumes, {bytes_read / 1e6:.0f} MB")
        for wait in given.wait_ms:
            print(f"a request waits {wait:.0f} ms")
            with served(folder, wait / 1e3) as url:
                for name in ("plain", "packed"):
                    measure(folder, url, name, given.repeats, given.threads)


if __name__ == "__main__":
    main()
