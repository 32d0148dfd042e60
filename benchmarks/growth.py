"""How a training grows with the cohort: the whole command from a store on disk to the report.

Stores of made-up embeddings with a weak signal (50 slices of 384 numbers each), five folds of DinoAtten3D's
head for two epochs, all baselines, bundle and report. Every size runs in a process of its own; memory is
that process's largest resident size.

    python benchmarks/growth.py --sizes 30 300 3000 30000 --json growth.json
"""

import argparse
import csv
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from made_up_store import example_draft, example_header, example_key, example_row

from cache_schema.move.pack import pack
from cache_schema.store.writer import StoreWriter

SLICES, DIM = 50, 384


def write_cohort(folder: Path, n: int, memory_gib: float) -> Path:
    """A packed store, its table and a pipeline; returns the pipeline's file."""
    header = example_header(("cls",), dim=DIM, slice_chunk=SLICES)
    rows = [example_row(example_key(number), SLICES) for number in range(n)]
    writer = StoreWriter.open(str(folder / "loose.zarr"), header, rows)
    for number, row in enumerate(rows):
        tokens = np.random.default_rng(number).standard_normal((SLICES, DIM), dtype=np.float32)
        tokens[:, :5] += 0.3 * (number % 2)
        writer.commit(example_draft(row.key, SLICES), {"cls": tokens})
    pack(str(folder / "loose.zarr"), str(folder / "cache.zarr"))
    with (folder / "participants.tsv").open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["participant_id", "diagnosis"])
        table.writerows([row.participant_id, ("control", "patient")[i % 2]] for i, row in enumerate(rows))
    aggregate = {
        "cohort": "participants.tsv",
        "target": "diagnosis",
        "recipe": "dinoatten3d",
        "train": {"epochs": 2, "patience": None},
        "folds": {"n": 5},
        "memory_gib": memory_gib,
    }
    pipeline = {"run": {"folder": "run"}, "cache": {"store": "cache.zarr"}, "aggregate": aggregate}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    return folder / "pipeline.yaml"


def train(pipeline: Path) -> tuple[float, float]:
    """Seconds and largest resident GiB of `slicecache train`."""
    start = time.perf_counter()
    command = [sys.executable, "-c", "import slicecache; slicecache.main()", "train", str(pipeline), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"training {pipeline} ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


def measure(n: int, memory_gib: float) -> dict[str, Any]:
    """One size."""
    with tempfile.TemporaryDirectory() as folder:
        taken, gib = train(write_cohort(Path(folder), n, memory_gib))
    print(f"| {n} | {taken:.1f} | {gib:.2f} |", flush=True)
    return {"volumes": n, "seconds": taken, "gib": gib}


def main() -> None:
    """Print a table, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[30, 300, 3000, 30000])
    parser.add_argument("--memory-gib", type=float, default=2.0, help="aggregate.memory_gib")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    print("| volumes | seconds | largest resident GiB |\n|---|---|---|")
    found = [measure(n, args.memory_gib) for n in args.sizes]
    exponents = [
        math.log(b["seconds"] / a["seconds"]) / math.log(b["volumes"] / a["volumes"])
        for a, b in itertools.pairwise(found)
    ]
    print("\nexponent of the seconds from size to size: " + ", ".join(f"{e:.2f}" for e in exponents))
    if args.json:
        args.json.write_text(json.dumps({"sizes": found, "exponents": exponents}, indent=1) + "\n")


if __name__ == "__main__":
    main()
