"""What waiting for the disk costs: commits per second with and without, of volumes of real sizes.

    python benchmarks/durability.py --folder /where/the/store/would/lie

50 slices of 384 numbers, as ViT-S gives them: `cls` and `patch_mean` (77 kB a volume), and with `patches` of
a 16 x 16 grid (10 MB). Volumes are committed one after another by one process, as an extraction's writing
thread does beside the embedding; both ways in turn, on fresh stores. Beside it, how long one sync takes.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.format.header import Header
from cache_schema.store.writer import StoreWriter

SLICES, DIM, GRID = 50, 384, (16, 16)
SIZES = {
    "cls, patch_mean": (("cls", "patch_mean"), 300),
    "cls, patch_mean, patches": (("cls", "patch_mean", "patches"), 40),
}


def commits_per_second(location: Path, header: Header, volumes: int, durable: bool) -> float:
    """Write a fresh store."""
    keys = [example_key(number) for number in range(volumes)]
    rows = [example_row(key, SLICES) for key in keys]
    arrays, drafts = example_arrays(header, SLICES, 0), [example_draft(key, SLICES) for key in keys]
    writer = StoreWriter.open(str(location), header, rows, durable=durable)
    start = time.perf_counter()
    for draft in drafts:
        writer.commit(draft, arrays, preview=bytes(30_000))
    return volumes / (time.perf_counter() - start)


def sync_milliseconds(folder: Path, number: int = 50) -> tuple[float, float]:
    """Median time to sync a new file of 40 kB, and the folder that it lies in."""
    files, names = [], []
    handle = os.open(folder, os.O_RDONLY)
    for place in range(number):
        with open(folder / f"x{place}", "wb") as file:
            file.write(bytes(40_000))
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            files.append(time.perf_counter() - start)
        start = time.perf_counter()
        os.fsync(handle)
        names.append(time.perf_counter() - start)
    os.close(handle)
    return 1000 * statistics.median(files), 1000 * statistics.median(names)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="What waiting for the disk costs.")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk in question")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "syncs").mkdir()
        file, names = sync_milliseconds(folder / "syncs")
        print(f"one sync: {file:.2f} ms of a new file of 40 kB, {names:.2f} ms of its folder")
        print("| arrays | MB per volume | volumes/s | with --no-fsync | waiting, ms per volume |")
        print("|---|---|---|---|---|")
        for what, (tokens, volumes) in SIZES.items():
            header = example_header(tokens, dim=DIM, grid=GRID, slice_chunk=SLICES)
            speeds: dict[bool, list[float]] = {True: [], False: []}
            for number in range(options.rounds):
                for durable, found in speeds.items():
                    location = folder / f"{len(tokens)}-{number}-{durable}"
                    found.append(commits_per_second(location, header, volumes, durable))
            waiting, free = (statistics.median(speeds[durable]) for durable in (True, False))
            size = sum(SLICES * 2 * DIM * (256 if token == "patches" else 1) for token in tokens) / 1e6
            cost = 1000 * (1 / waiting - 1 / free)
            print(f"| {what} | {size:.2f} | {waiting:.0f} | {free:.0f} | {cost:.1f} |", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
