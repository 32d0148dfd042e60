"""Exports: time to write, to open and to read them, and training from tokens that stay in the store.

Run: python benchmarks/export.py [--volumes N] [--slices N] [--only handing] [--json FILE]. Everything is
made up and lies in a temporary folder; each figure is the median of interleaved runs, with the smallest
and largest behind it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, zipped

from cache_schema.move.export import export_store, import_store
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter

DIM, REPEATS, EPOCHS = 384, 5, 2


def make(location: str, volumes: int, slices: int) -> None:
    header = example_header(("cls",), dim=DIM, slice_chunk=slices)
    keys = [example_key(number) for number in range(volumes)]
    writer = StoreWriter.open(location, header, [example_row(key, slices) for key in keys])
    for number, key in enumerate(keys):
        writer.commit(example_draft(key, slices), example_arrays(header, slices, number))
    seal(location)


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


FIGURES: dict[str, Any] = {}
"""What `--json` writes: seconds of every run by title, and the lines of the trainings."""


def report(title: str, seconds: list[float]) -> None:
    FIGURES[title] = seconds
    low, high = min(seconds), max(seconds)
    print(f"{title:<28} {1000 * median(seconds):8.1f} ms ({1000 * low:.1f} to {1000 * high:.1f})")


def reading(folder: Path, volumes: int, slices: int) -> None:
    make(f"{folder}/s.zarr", volumes, slices)
    report("export to x.h5", [timed(lambda: export_store(f"{folder}/s.zarr", f"{folder}/x.h5"))])
    report("import from x.h5", [timed(lambda: import_store(f"{folder}/x.h5", f"{folder}/back.zarr"))])
    np.save(folder / "plain.npy", open_store(f"{folder}/s.zarr").read("cls"))
    zipped(folder / "s.zarr")
    names = ("s.zarr", "x.h5", "s.zip")
    opening: dict[str, list[float]] = {name: [] for name in names}
    took: dict[str, list[float]] = {name: [] for name in (*names, "plain.npy")}
    for _ in range(REPEATS):
        for name in names:
            opening[name].append(timed(lambda name=name: open_store(folder / name)))
            store = open_store(folder / name)
            took[name].append(timed(lambda store=store: store.read("cls")))
        took["plain.npy"].append(timed(lambda: np.load(folder / "plain.npy")))
    for name in names:
        report(f"open {name}", opening[name])
    for name, seconds in took.items():
        report(f"read cls of {name}", seconds)


class Watch(threading.Thread):
    """Looks at this process's own memory every few milliseconds, without the pages of libraries."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            status = Path("/proc/self/status").read_text()
            self.seen.append(int(status.partition("RssAnon:")[2].split()[0]))
            time.sleep(0.004)


HANDED = {
    "cache export .h5": ("x.h5", ""),
    ".h5ad, a row per volume": ("v.h5ad", "volume"),
    ".h5ad, a row per slice": ("s.h5ad", "slice"),
    ".nc": ("x.nc", "volume"),
    "huggingface": ("hf", "huggingface"),
    "bids": ("bids", "bids"),
}
"""Title -> the name that is written, and how."""


def handing(location: str, title: str, out: str) -> None:
    """Write one format and say time, bytes and how far memory rose; in a process of its own."""
    from aggregate.interop.export import export

    how = HANDED[title][1]
    for package in ("h5py", "h5netcdf", "datasets.arrow_writer", "aggregate.interop.bids"):
        __import__(package)  # seconds that no cohort makes longer
    watch = Watch()
    watch.start()
    time.sleep(0.1)
    before, started = watch.seen[-1], time.perf_counter()
    if not how:
        export_store(location, out)
    elif how in ("volume", "slice"):
        export(location, out, rows=how)
    else:
        export(location, out, how)
    took = time.perf_counter() - started
    files = [path for path in (Path(out), *Path(out).rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    rose = (max(watch.seen) - before) / 1024
    print(f"| {title} | {took:.1f} | {size:.0f} | {len(files)} | {rose:.0f} |")


def handed_on(folder: Path) -> list[str]:
    """Each format once, one after another."""
    print("| | seconds | MB | files | memory rose by MiB |\n|---|---|---|---|---|", flush=True)
    lines = []
    for title, (name, _) in HANDED.items():
        command = [sys.executable, __file__, "handing", f"{folder}/s.zarr", title, f"{folder}/handed/{name}"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        lines.append(done.stdout.strip())
        print(lines[-1], flush=True)
    return lines


def training(location: str, kind: str) -> None:
    """Train five folds and say the time and the peak of memory; in a process of its own."""
    import torch

    from aggregate.bags.bags import lazy_bags, read_bags
    from aggregate.heads.attention import AttentionSpec
    from aggregate.losses.registry import LossSpec
    from aggregate.training.spec import TrainSpec
    from aggregate.training.stacked import RunSpec, train_stacked

    torch.set_num_threads(1)
    store = open_store(location)
    n, train = len(store.entries), TrainSpec(start="plain", epochs=EPOCHS)
    hands = np.arange(n) % 5
    runs = [
        RunSpec("c", 0, f, 0, AttentionSpec(), LossSpec(), train, np.flatnonzero(hands != f), np.arange(0))
        for f in range(5)
    ]
    watch = Watch()
    watch.start()
    started = time.perf_counter()
    if kind == "memory":
        bags = read_bags(store, store.entries, "cls")
    else:
        bags = lazy_bags(store, store.entries, "cls", budget=2**40 if kind == "kept" else 0)
    read = time.perf_counter() - started
    train_stacked(bags, torch.arange(n) % 2, torch.ones(n), 2, runs)
    took = time.perf_counter() - started - read
    peak = max(watch.seen) / 2**20
    print(f"{location[-6:]} {kind:<8} read {read:5.2f} s, {EPOCHS} epochs {took:6.2f} s, peak {peak:.2f} GiB")


def main() -> None:
    if sys.argv[1:2] == ["training"]:
        training(sys.argv[2], sys.argv[3])
        return
    if sys.argv[1:2] == ["handing"]:
        handing(*sys.argv[2:5])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=1000)
    parser.add_argument("--slices", type=int, default=160)
    parser.add_argument("--only", choices=["handing"], help="the formats of other programs alone")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only:
            make(f"{folder}/s.zarr", arguments.volumes, arguments.slices)
            handed_on(Path(folder))
            return
        reading(Path(folder), arguments.volumes, arguments.slices)
        FIGURES["handed on"] = handed_on(Path(folder))
        lines = []
        for kind in ("memory", "kept", "lazy", "memory", "kept", "lazy"):
            for name in ("s.zarr", "x.h5"):
                command = [sys.executable, __file__, "training", f"{folder}/{name}", kind]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                lines.append(done.stdout.strip())
                print(lines[-1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({**FIGURES, "training": lines}, indent=1))


if __name__ == "__main__":
    main()
