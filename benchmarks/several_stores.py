"""Three stores in one pass beside three passes: reads, seconds per stage, peak memory, digests.

    python benchmarks/several_stores.py ../shared/data/ds002748-native --volumes 4 --json out.json

Every pass is a process of its own that decodes in itself (`workers: 0`), so that its peak memory is all of
it and no stage hides behind another. Seconds of reading and preparing are the records'; a joint pass reads
once for all stores, and each of its records says what that took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STORES: dict[str, dict[str, Any]] = {
    "main": {},
    "other": {"backbone": {"kind": "untrained", "size": "tiny", "seed": 1}},
    "paper": {"preset": "dinoatten3d", "slices": {"kind": "center", "n": 12}},
}


def pipeline(folder: Path, name: str, extract: dict[str, Any]) -> Path:
    """A pipeline file with a run folder and a store of its own."""
    path = folder / f"{name}.json"  # which is YAML, too
    data = {"run": {"folder": f"run-{name}"}, "cache": {"store": f"{name}.zarr"}, "extract": extract}
    path.write_text(json.dumps(data))
    return path


def measured(file: Path) -> dict[str, Any]:
    """Extract in a process of its own; what it said, with wall, CPU seconds and peak memory."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "slicecache", "extract", str(file), "--json"]
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, stdout=said)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"{file} ended with {status}")
        said.seek(0)
        found = json.load(said)
    return found | {
        "wall": time.perf_counter() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def stages(store: str) -> dict[str, float]:
    """Seconds per stage, summed over the store's records."""
    from cache_schema.store.reader import open_store

    reader = open_store(store)
    sums: dict[str, float] = {}
    for entry in reader.entries:
        for stage, seconds in reader.record(entry.key).seconds.items():
            sums[stage] = sums.get(stage, 0.0) + seconds
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bids", type=Path)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for path in sorted(given.bids.glob("sub-*"))[: given.volumes]:
            shutil.copytree(path, folder / "bids" / path.name)
        base = {
            "input": {"bids": "bids", "suffix": "T1w"},
            "slices": {"kind": "uniform", "n": 12},
            "backbone": {"kind": "untrained", "size": "small"},
            "dtype": "float32",
            "workers": 0,
        }
        joint = measured(pipeline(folder, "joint", base | {"stores": STORES}))
        joint["read"] = stages(joint["store"])["read"]
        joint["prepare"] = sum(stages(each["store"])["prepare"] for each in joint["stores"].values())
        alone = {name: measured(pipeline(folder, name, base | own)) for name, own in STORES.items()}
        for each in alone.values():
            each |= {stage: stages(each["store"])[stage] for stage in ("read", "prepare")}
        digests = {name: each["content_digest"] for name, each in joint["stores"].items()}
        equal = digests == {name: each["content_digest"] for name, each in alone.items()}
    rows = {"one pass": joint, **{f"alone: {name}": each for name, each in alone.items()}}
    names = ("read", "prepare", "cpu", "wall", "peak_mib")
    for row, each in rows.items():
        print(row.ljust(14), "  ".join(f"{name} {each[name]:.1f}" for name in names))
    print("digests equal:", equal)
    if given.json:
        kept = {row: {name: each[name] for name in names} for row, each in rows.items()}
        given.json.write_text(
            json.dumps({"volumes": given.volumes, "equal": equal, "passes": kept}, indent=1)
        )


if __name__ == "__main__":
    main()
