"""What a job array costs beside embedding, up to 1,000 tasks over 100,000 planned volumes.

The input, the plan, the table and the store are real; embedding is a pause. Each task is a process of its
own that reads the kept plan, opens the store, looks which volumes of its share are left, and commits some.
Of an array of many tasks a sample runs, `--at-once` at a time, each with its true share; what the whole array
takes follows from it by multiplication, and is said so.

    python benchmarks/many_tasks.py --volumes 100000 --tasks 1 10 100 1000
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parent)]

PAUSE = 0.02
"""Seconds that embedding a volume is pretended to take."""
COMMITS = 40
"""Volumes that a task of the sample commits, at most."""
SAMPLE = 12


def load(folder: Path) -> Any:
    """The pipeline and its section."""
    from cache_schema.common.pipeline_file import load_pipeline
    from extract.cli import read_extract_section

    pipeline = load_pipeline(folder / "all.yaml", ["extract.dtype=auto"])
    return pipeline, read_extract_section(pipeline)


def create(folder: Path) -> dict[str, float]:
    """Plan, keep the plan, create the store."""
    from extract.extraction import create_planned

    start = time.perf_counter()
    create_planned(*load(folder))
    return {"seconds": time.perf_counter() - start}


def task(folder: Path, index: int, count: int) -> dict[str, float]:
    """One task of an array, with a pause for an embedder; seconds of its steps."""
    import torch
    from made_up_store import example_arrays, example_draft

    from cache_schema.format.numerics import FixedNumerics
    from extract.engines.changes import Changes
    from extract.engines.pending import sort_out
    from extract.engines.station import open_station
    from extract.planning.config import asked_stores
    from extract.planning.shard import Shard
    from extract.planning.to_do import planned_once

    torch.set_num_threads(1)
    pipeline, section = load(folder)
    marks = [time.perf_counter()]
    kept = planned_once(pipeline, asked_stores(pipeline, section))
    mine = kept.share(Shard(index, count))
    marks.append(time.perf_counter())
    station = open_station(section, pipeline.base, pipeline.store(), mine.rows(), longest=kept.longest[0])
    station.embedder()
    assert isinstance(station.writer.fixed_numerics(), FixedNumerics)
    marks.append(time.perf_counter())
    pending = sort_out(mine.embeddable, station.writer, Changes(folder / "seen.json"), False)
    marks.append(time.perf_counter())
    spent = []
    for each in pending.volumes[:COMMITS]:
        time.sleep(PAUSE)
        n = max(1, each.max_slices)
        draft = example_draft(each.candidate.key, n)
        arrays = example_arrays(station.writer.header, n)
        start = time.perf_counter()
        station.writer.commit(draft, arrays, None)
        spent.append(time.perf_counter() - start)
    read, opened, looked = (b - a for a, b in pairwise(marks))
    return {
        "volumes": len(mine.embeddable),
        "read plan": read,
        "open store": opened,
        "look": looked,
        "look per volume": looked / max(1, len(mine.embeddable)),
        "commit": statistics.median(spent) if spent else 0.0,
        "committed": len(spent),
    }


def alone(*arguments: str) -> dict[str, float]:
    """This script with some arguments in a process of its own."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "whole": time.perf_counter() - start}


def array(folder: Path, count: int, at_once: int) -> dict[str, float]:
    """A sample of an array's tasks; medians over them."""
    step = max(1, count // SAMPLE)
    indices = list(range(0, count, step))[:SAMPLE]
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda i: alone("--task", f"{i}/{count}", "--folder", str(folder)), indices))
    return {name: statistics.median(each[name] for each in found) for name in found[0]} | {
        "run": len(found),
        "committed": sum(each["committed"] for each in found),
    }


def listing(folder: Path) -> dict[str, float]:
    """What `status` asks of the store."""
    from cache_schema.files.locate import open_objects
    from cache_schema.store.table import read_volume_table

    start = time.perf_counter()
    objects = open_objects(str(folder / "cache.zarr"))
    assert objects is not None
    table = read_volume_table(objects)
    between = time.perf_counter()
    records = len(objects.list("records"))
    end = time.perf_counter()
    return {"table": between - start, "rows": len(table.index), "list": end - between, "records": records}


def measure(volumes: int, counts: list[int], at_once: int, where: Path | None) -> dict[str, Any]:
    """Everything at one size."""
    from many_plans import write_cohort

    with tempfile.TemporaryDirectory(dir=where) as place:
        folder = Path(place)
        write_cohort(folder, volumes)
        plan = alone("--create", "--folder", place)
        size = (folder / "run/extract/plan.jsonl").stat().st_size / 2**20
        print(f"{volumes} volumes: planned and created in {plan['seconds']:.1f} s, plan of {size:.0f} MiB\n")
        print("| tasks | volumes a task | read plan s | open store s | look ms/volume | commit ms | ", end="")
        print("a task's start s | of them run |\n|---|---|---|---|---|---|---|---|", flush=True)
        found = {}
        for count in counts:
            found[count] = took = array(folder, count, at_once)
            start = took["whole"] - took["committed"] / took["run"] * (took["commit"] + PAUSE)
            print(
                f"| {count} | {took['volumes']:.0f} | {took['read plan']:.2f} | {took['open store']:.2f} | "
                f"{1000 * took['look per volume']:.3f} | {1000 * took['commit']:.1f} | {start:.1f} | "
                f"{took['run']:.0f} |",
                flush=True,
            )
        last = alone("--listing", "--folder", place)
        print(
            f"\ntable of {last['rows']} rows {last['table']:.2f} s, {last['records']} records listed in ",
            end="",
        )
        print(f"{last['list']:.3f} s; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        return {"volumes": volumes, "plan": plan, "arrays": found, "listing": last}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--where", type=Path, metavar="FOLDER", help="where cohort and store are made")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--create", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--listing", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.create:
        print(json.dumps(create(args.folder)))
    elif args.listing:
        print(json.dumps(listing(args.folder)))
    elif args.task:
        index, _, count = args.task.partition("/")
        print(json.dumps(task(args.folder, int(index), int(count))))
    else:
        found = measure(args.volumes, args.tasks, args.at_once, args.where)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
