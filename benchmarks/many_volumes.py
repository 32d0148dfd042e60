"""How opening, checking and packing grow with the number of volumes, up to 100,000.

Volumes are tiny (3 slices of 4 numbers in `cls` and in `patch_mean`), so that what is measured is what a
volume costs whatever its size. They are made in bulk: the table by `create_store`, chunks and records by the
writer's own functions, without the looks of `commit` at what somebody else may be doing; sealing and packing
are the real ones. Every step runs in a process of its own; memory is that process's largest resident size,
80 MiB of which are Python with numpy and pandas.

    python benchmarks/many_volumes.py --sizes 1000 10000 100000 --json many_volumes.json
"""

import argparse
import csv
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SLICES, DIM = 3, 4
TOKENS = ("cls", "patch_mean")


def make(folder: Path, n: int) -> None:
    """A store of `n` volumes, not sealed, heartbeats of a hundredth as many, and a table of labels."""
    import numpy as np
    from made_up_store import example_draft, example_header, example_key, example_row

    from cache_schema.files.chunks.chunk import encode
    from cache_schema.format.digests.digest import volume_digest
    from cache_schema.format.digests.proof import prove_array
    from cache_schema.format.digests.token_statistics import token_statistics
    from cache_schema.format.layout import record_name
    from cache_schema.format.metadata import plain_layouts
    from cache_schema.format.record import VolumeRecord
    from cache_schema.store.commit import encode_record
    from cache_schema.store.create import create_store

    header = example_header(TOKENS, dim=DIM, slice_chunk=SLICES)
    keys = [example_key(number) for number in range(n)]
    location = folder / "s.zarr"
    create_store(str(location), header, [example_row(key, SLICES) for key in keys])
    layouts = plain_layouts(header, n, SLICES)
    for row, key in enumerate(keys):
        generator = np.random.default_rng(row)
        arrays = {
            name: generator.standard_normal((SLICES, DIM)).astype(layout.dtype)
            for name, layout in layouts.items()
        }
        record = VolumeRecord(
            **example_draft(key, SLICES).model_dump(),
            row=row,
            tokens={spec.name: token_statistics(spec, arrays[spec.name]) for spec in header.arrays},
            arrays={s.name: prove_array(key, s, arrays[s.name], SLICES) for s in header.arrays},
            digest=volume_digest(key, arrays),
        ).signed()
        for name, layout in layouts.items():
            (location / layout.chunk_name(row, 0)).write_bytes(encode(layout, arrays[name]))
        place = location / record_name(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_record(record))
    put_workers(location, n // 100)
    with (folder / "participants.tsv").open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["participant_id", "diagnosis"])
        table.writerows([key.participant_id, ("control", "patient")[i % 2]] for i, key in enumerate(keys))


def put_workers(location: Path, n: int) -> None:
    """Heartbeats of `n` workers who are at work, each on a share of its own."""
    from cache_schema.files.objects import LocalObjects
    from cache_schema.format.canonical import canonical_json
    from cache_schema.workers.heart import Heart, WorkDone, Worker

    for number in range(n):
        worker = Worker("cuda", "a device", "bfloat16", "a processor", f"{number}/{n}", 100)
        beat = Heart("", worker, lambda: WorkDone(10, 0, 1600, 80.0, 8.0)).now()
        beat = beat.model_copy(update={"pid": number})
        LocalObjects(location, durable=False).put(beat.name, canonical_json(beat.model_dump(mode="json")))


def ask_it(folder: Path) -> None:
    """How far it is."""
    from cache_schema.status.look import Observer

    counts = Observer(str(folder / "s.zarr")).look().counts
    assert counts.planned == counts.committed > 0


def open_it(folder: Path) -> None:
    """Open, and look at every entry once."""
    from cache_schema.store.reader import open_store

    assert sum(entry.n_slices for entry in open_store(folder / "s.zarr").entries) > 0


def read_it(folder: Path) -> None:
    """Read one array of all volumes, proven."""
    from cache_schema.store.reader import open_store

    assert open_store(folder / "s.zarr").read("cls").shape[1:] == (SLICES, DIM)


def verify_it(folder: Path, full: bool = False) -> None:
    """Check the whole store."""
    from cache_schema.verify.verify import verify_store

    problems = verify_store(str(folder / "s.zarr"), full=full).problems
    # Made-up numbers are alike in nothing, so that `--full` may call some of them strange.
    assert full or not problems, problems[:3]


def verify_all(folder: Path) -> None:
    """Check the whole store and the cohort."""
    verify_it(folder, full=True)


def seal_it(folder: Path) -> None:
    """Seal."""
    from cache_schema.store.seal import seal

    seal(str(folder / "s.zarr"))


def pack_it(folder: Path) -> None:
    """Pack in place, checks included."""
    from cache_schema.move.pack import pack

    pack(str(folder / "s.zarr"))


def join_it(folder: Path) -> None:
    """What `train` does before it reads tokens: open, join the table, decide who takes part."""
    from aggregate.cohort.cohort import load_cohort
    from aggregate.cohort.request import CohortRequest
    from aggregate.targets.classification import ClassificationSpec
    from cache_schema.store.reader import open_store

    request = CohortRequest(table=folder / "participants.tsv", target=ClassificationSpec(column="diagnosis"))
    assert len(load_cohort(request, open_store(folder / "s.zarr")).entries) > 0


STEPS: dict[str, Callable[[Path], None]] = {
    "status": ask_it,
    "open, not sealed": open_it,
    "read cls": read_it,
    "verify": verify_it,
    "verify --full": verify_all,
    "seal": seal_it,
    "status, sealed": ask_it,
    "open, sealed": open_it,
    "verify, sealed": verify_it,
    "join the cohort": join_it,
    "pack": pack_it,
    "open, packed": open_it,
    "read cls, packed": read_it,
    "verify, packed": verify_it,
}
"""In this order: each finds the store as the one before left it."""


def alone(*arguments: str) -> dict[str, float]:
    """What this script with some arguments takes, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one_step(folder: Path, act: Callable[[], None]) -> None:
    """Do one thing and print what it took; what is imported is not counted."""
    import cache_schema.move.pack
    import cache_schema.status.look
    import cache_schema.verify.verify  # noqa: F401

    started, busy = time.perf_counter(), time.process_time()
    act()
    taken = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - busy}
    print(json.dumps({**taken, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measure(n: int, where: Path | None, steps: Sequence[str]) -> dict[str, Any]:
    """Some steps at one size."""
    found = {}
    with tempfile.TemporaryDirectory(dir=where) as folder:
        made = alone("--make", str(n), "--folder", folder)
        print(f"\n{n} volumes, made in {made['seconds']:.0f} s", flush=True)
        print("| step | seconds | of the processor | MiB |\n|---|---|---|---|")
        for name in steps:
            found[name] = took = alone("--step", name, "--folder", folder)
            print(f"| {name} | {took['seconds']:.2f} | {took['cpu_s']:.2f} | {took['mib']:.0f} |", flush=True)
    return {"volumes": n, "steps": found}


def exponent(smaller: dict[str, Any], larger: dict[str, Any], step: str) -> float:
    """Of the processor's seconds from one size to the next."""
    ratio = larger["steps"][step]["cpu_s"] / smaller["steps"][step]["cpu_s"]
    return math.log(ratio) / math.log(larger["volumes"] / smaller["volumes"])


def main() -> None:
    """Print a table per size and the exponents, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), metavar="STEP", help="in this order [all]")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--where", type=Path, metavar="FOLDER", help="where stores are made")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        one_step(args.folder, lambda: make(args.folder, args.make))
    elif args.step:
        one_step(args.folder, lambda: STEPS[args.step](args.folder))
    else:
        steps = args.steps or list(STEPS)
        found = [measure(n, args.where, steps) for n in args.sizes]
        print("\nexponent of the processor's seconds from size to size")
        for step in steps:
            print(
                f"| {step} | " + ", ".join(f"{exponent(a, b, step):.2f}" for a, b in pairwise(found)) + " |"
            )
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
