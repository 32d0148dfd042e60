"""Damages a store in every way we can think of, 20 times each, and asks whether `verify --full` sees it.

A damage counts as *detected* when the check finds any problem, and as *named* when it names the volume
and the array (or the part of the store) that was damaged. Nothing is random but the seeded places.

    python benchmarks/faults.py --json faults.json
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from pathlib import Path

from damages import KINDS, Damage
from sound_store import write_store

from cache_schema.verify.verify import verify_store


def trial(sound: Path, folder: Path, damage: Damage, seed: int) -> tuple[bool, bool]:
    """One damage on a fresh copy: whether it was detected, and whether it was named."""
    store = folder / "store.zarr"
    shutil.copytree(sound, store)
    try:
        expected = damage(store, random.Random(seed))
        problems = verify_store(str(store), full=True).problems
        return bool(problems), expected <= {(p.volume, p.array) for p in problems}
    finally:
        shutil.rmtree(store, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the matrix to this file")
    parser.add_argument("--damages", type=int, default=20, help="of each kind [20]")
    arguments = parser.parse_args()
    matrix = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        sound = Path(name) / "sound.zarr"
        write_store(sound)
        false_alarms = [str(p) for p in verify_store(str(sound), full=True).problems]
        print(f"problems named in the sound store: {len(false_alarms)}\n")
        print("| damage | detected | named |\n|---|---|---|")
        for kind, damage in KINDS.items():
            results = [trial(sound, Path(name), damage, seed) for seed in range(arguments.damages)]
            detected, named = (sum(column) for column in zip(*results, strict=True))
            matrix[kind] = {"damages": len(results), "detected": detected, "named": named}
            print(f"| {kind} | {detected} / {len(results)} | {named} / {len(results)} |", flush=True)
    seconds = time.perf_counter() - started
    if arguments.json:
        result = {"false_alarms": false_alarms, "matrix": matrix, "seconds": seconds}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
