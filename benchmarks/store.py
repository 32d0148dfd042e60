"""How fast a store is read and opened, beside `np.load` of the same bytes and Zarr's own way.

Reads are interleaved in one process: every repeat does each way once, in turn, so that a busy
neighbour hits all of them. Files are in the page cache; every way allocates its result anew. Ratios are
medians over repeats of the ratio to `np.load` in the same repeat. *First read* is by a reader that was just
opened, which proves every volume for the first time; the SHA-256 way includes opening.

    python benchmarks/store.py --json store.json
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.move.pack import pack
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter


def write_store(location: Path, n_volumes: int, n_slices: int, dim: int) -> StoreReader:
    """A store of random `cls` tokens."""
    header = example_header(("cls",), dim=dim, slice_chunk=n_slices)
    rows = [example_row(example_key(number), n_slices) for number in range(n_volumes)]
    writer = StoreWriter.open(str(location), header, rows)
    for number, row in enumerate(rows):
        writer.commit(example_draft(row.key, n_slices), example_arrays(header, n_slices, number))
    return open_store(location)


def zarr_read(location: Path, pipeline: str | None = None) -> Callable[[], Any]:
    """Zarr's own way: `array[:]`, with its default codec pipeline or another."""
    with zarr.config.set({"codec_pipeline.path": pipeline} if pipeline else {}):
        array = zarr.open_array(str(location / "cls"), mode="r")
    return lambda: array[:]


def files(location: Path) -> int:
    """Files of a store."""
    return sum(len(names) for _, _, names in os.walk(location))


def reading(folder: Path, n_volumes: int, repeats: int) -> dict[str, Any]:
    """Time all ways of reading a whole cohort's `cls`."""
    plain, packed, flat = folder / "plain.zarr", folder / "packed.zarr", folder / "cls.npy"
    expected = write_store(plain, n_volumes, 160, 384).read("cls")
    pack(str(plain), str(packed))
    np.save(flat, expected)
    readers = {name: open_store(path) for name, path in (("plain", plain), ("packed", packed))}
    fresh = {"plain": plain, "packed": packed}
    first = {name: iter([open_store(path) for _ in range(repeats + 1)]) for name, path in fresh.items()}
    ways: dict[str, Callable[[], Any]] = {
        "np.load": lambda: np.load(flat),
        "store, packed": lambda: readers["packed"].read("cls"),
        "store, unpacked": lambda: readers["plain"].read("cls"),
        "store, packed, first read": lambda: next(first["packed"]).read("cls"),
        "store, unpacked, first read": lambda: next(first["plain"]).read("cls"),
        "store, unpacked, first read, SHA-256": lambda: open_store(plain, prove="sha256").read("cls"),
        "zarr array[:], packed": zarr_read(packed),
        "zarr array[:], unpacked": zarr_read(plain),
    }
    try:
        import zarrs  # noqa: F401
    except ImportError:
        pass
    else:
        ways["zarr array[:] with zarrs, packed"] = zarr_read(packed, "zarrs.ZarrsCodecPipeline")
        ways["zarr array[:] with zarrs, unpacked"] = zarr_read(plain, "zarrs.ZarrsCodecPipeline")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            found = way()
            if repeat:  # the first is a warm-up, and checked
                seconds[name].append(time.perf_counter() - started)
            else:
                np.testing.assert_array_equal(found, expected)
            del found
    base = seconds["np.load"]
    return {
        "volumes": n_volumes,
        "megabytes": expected.nbytes / 1e6,
        "files": {"unpacked": files(plain), "packed": files(packed)},
        "ways": {
            name: {
                "median_ms": 1e3 * statistics.median(times),
                "min_ms": 1e3 * min(times),
                "ratio": statistics.median(t / b for t, b in zip(times, base, strict=True)),
                "ratio_of_minima": min(times) / min(base),
            }
            for name, times in seconds.items()
        },
    }


def opening(folder: Path, n_volumes: int, repeats: int) -> dict[str, Any]:
    """Time opening a store of many volumes, before and after sealing it, and packed."""
    location, packed = folder / "many.zarr", folder / "many_packed.zarr"
    write_store(location, n_volumes, 50, 4)
    result = {"volumes": n_volumes, "open_unsealed_s": median_seconds(lambda: open_store(location), 1)}
    seal(str(location))
    result["open_sealed_s"] = median_seconds(lambda: open_store(location), repeats)
    reader = open_store(location)
    result["records_s"] = median_seconds(lambda: list(reader.records()), 1)
    pack(str(location), str(packed))
    result["open_packed_s"] = median_seconds(lambda: open_store(packed), repeats)
    result["files"] = {"sealed": files(location), "packed": files(packed)}
    return result


def median_seconds(act: Callable[[], Any], repeats: int) -> float:
    """Median time of an action."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--volumes", type=int, default=1000, help="volumes to read [1000]")
    parser.add_argument(
        "--open-volumes", type=int, default=10_000, help="volumes of the store to open [10000]"
    )
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        read = reading(Path(name), arguments.volumes, arguments.repeats)
        print(f"cls of {read['volumes']} volumes x 160 x 384 float16, {read['megabytes']:.0f} MB")
        print("| way | median ms | least ms | ratio to np.load | of least times |\n|---|---|---|---|---|")
        for way, row in read["ways"].items():
            print(
                f"| {way} | {row['median_ms']:.0f} | {row['min_ms']:.0f} | {row['ratio']:.2f} "
                f"| {row['ratio_of_minima']:.2f} |"
            )
        print(f"files: {read['files']}\n", flush=True)
        opened = opening(Path(name), arguments.open_volumes, 5)
        print("\n".join(f"{key}: {value}" for key, value in opened.items()))
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores")
    if arguments.json:
        result = {"read": read, "open": opened, "load": load, "python": sys.version.split()[0]}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
