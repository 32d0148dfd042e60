"""How planning and resuming grow with the cohort: the whole commands over tiny generated images.

`plan` of a BIDS tree and of a manifest, and `extract` where everything is committed already (records of all
volumes beside a store that one volume was embedded into; their arrays are never asked for): first giving
rows to them, then again, then after every image got another time, as a copy has, and once more. Every
command runs in a process of its own: seconds, processor seconds in brackets, and its largest resident size.
Nothing is left behind.

    python benchmarks/many_plans.py --sizes 1000 10000 100000 --json many_plans.json
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml

from cache_schema.files.objects import LocalObjects
from cache_schema.format.inputs import Inputs
from cache_schema.format.layout import record_name
from cache_schema.format.record import SourceFile
from cache_schema.store.commit import encode_record
from cache_schema.store.reader import open_store
from extract.volume.inputs import facts_of, input_file

SHAPE = (12, 13, 11)
STEPS = ("plan, BIDS", "plan, manifest", "rows given", "all committed", "all copied", "once more")
COPIED_UP_TO = 10_000
"""Larger cohorts are not copied here: it is the same again, with a digest of 2 kB per file."""


def image_bytes() -> bytes:
    """A ball in a NIfTI file of 2 kB."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    values = np.where((grid**2).sum(0) < 0.7, 90 + 40 * grid[2], 0).astype(np.uint8)
    return bytes(nibabel.Nifti1Image(values, np.diag([14.0, 14, 14, 1])).to_bytes())


def write_cohort(folder: Path, n: int) -> None:
    """A BIDS tree, a manifest of it, a manifest of its first volume, and a pipeline for each."""
    image, rows = image_bytes(), []
    for number in range(n):
        place = Path(f"bids/sub-{number:06d}/anat/sub-{number:06d}_T1w.nii")
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_bytes(image)
        rows.append(f"sub-{number:06d}\t{place}")
    for name, some in (("all", rows), ("one", rows[:1])):
        (folder / f"{name}.tsv").write_text("\n".join(["participant_id\tpath", *some]) + "\n")
    for name in ("bids", "all", "one"):
        data = {
            "run": {"folder": "run"},
            "cache": {"store": "cache.zarr"},
            "extract": {
                "input": {"bids": "bids"} if name == "bids" else {"manifest": f"{name}.tsv"},
                "canvas": 28,
                "backbone": {"kind": "untrained", "size": "tiny"},
                "dtype": "float32",
                "workers": 0,
            },
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(data))


def write_records(folder: Path) -> None:
    """Commit records for all volumes, made after the one that was embedded."""
    store = open_store(folder / "cache.zarr")
    record = store.record(store.entries[0].key)
    objects = LocalObjects(str(folder / "cache.zarr"))
    assert record.inputs is not None
    sha256 = record.source.sha256
    for row, line in enumerate((folder / "all.tsv").read_text().splitlines()[1:]):
        participant, place = line.split("\t")
        facts = facts_of(folder / place)
        made = record.model_copy(
            update={
                "participant_id": participant,
                "row": row,
                "source": SourceFile(path=place, bytes=facts[0], mtime_ns=facts[1], sha256=sha256),
                "inputs": Inputs.of({"image": input_file(facts, sha256)}, None, None, None),
            }
        ).signed()
        objects.put(record_name(made.key), encode_record(made))


def timed(folder: Path, verb: str, pipeline: str) -> tuple[float, float, float]:
    """Seconds, processor seconds and largest resident GiB of a command."""
    start = time.perf_counter()
    command = [sys.executable, "-c", "import slicecache; slicecache.main()", verb, str(folder / pipeline)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{verb} {pipeline} ended with status {status}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def measure(n: int) -> dict[str, Any]:
    """One size."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_cohort(folder, n)
        found = [timed(folder, "plan", "bids.yaml"), timed(folder, "plan", "all.yaml")]
        timed(folder, "extract", "one.yaml")
        write_records(folder)
        found += [timed(folder, "extract", "all.yaml") for _ in range(2)]
        if n <= COPIED_UP_TO:
            for image in (folder / "bids").glob("*/*/*.nii"):
                image.touch()
            found += [timed(folder, "extract", "all.yaml") for _ in range(2)]
        cells = [f"{seconds:.1f} s ({cpu:.1f}), {gib:.2f} GiB" for seconds, cpu, gib in found]
        print(f"| {n} | {' | '.join(cells + ['-'] * (len(STEPS) - len(cells)))} |", flush=True)
    return {"volumes": n, "steps": dict(zip(STEPS, found, strict=False))}


def main() -> None:
    """Print a table, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000, 100000])
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    print(f"| volumes | {' | '.join(STEPS)} |\n|---{'|---' * len(STEPS)}|")
    found = [measure(n) for n in args.sizes]
    if len(found) > 1:
        first, last = found[-2], found[-1]
        growth = math.log(last["volumes"] / first["volumes"])
        both = [step for step in STEPS if step in last["steps"]]
        exponents = [math.log(last["steps"][s][1] / first["steps"][s][1]) / growth for s in both]
        print(f"| exponent of the last step (processor) | {' | '.join(f'{e:.2f}' for e in exponents)} |")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
