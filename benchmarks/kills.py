"""Kill extractions at random moments, and count what is lost or torn.

    python benchmarks/kills.py --kills 100 --json out.json

Each round, two processes start at once on a store that does not exist yet, so that they race to create it,
and extract the same volumes. At a random moment one of them (every third round both) gets SIGKILL. What is
there then is verified; what was killed is done again; and the store must hold what an undisturbed
extraction gives, by content digest. A kill counts only when it hit a running process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Barrier

    from extract.outcome import Outcome

PRELOAD = [
    "extract.extraction",
    "extract.planning.config",
    "extract.backbones.untrained",
    "zarr",
    "zarr.codecs",
]
EARLY = 0.25
"""Every other kill falls into this first share of the time, where the store is created."""


@dataclass
class Tally:
    """What came of the rounds."""

    kills: int = 0
    rounds: int = 0
    before_store: int = 0
    """Rounds in which no store was there yet when the kill fell."""
    before_commit: int = 0
    """Rounds in which there was a store without a volume."""
    while_writing: int = 0
    """Rounds in which some volumes were committed and some not."""
    lost: int = 0
    """Volumes that were committed at the kill, or are part of the input, and are not there in the end."""
    torn: int = 0
    """Problems that `cache verify` names, after the kill or in the end."""
    wrong_digest: int = 0
    left_over: int = 0
    """Unfinished files and folders that the next extraction did not sweep."""
    swept: int = 0
    survivor_failed: int = 0
    """Rounds in which the process that was not killed did not end with 0."""

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.torn or self.wrong_digest or self.left_over or self.survivor_failed)


def write_cohort(folder: Path, volumes: int) -> None:
    """Small balls of noise, each of another length."""
    import nibabel as nib
    import numpy as np

    for index in range(volumes):
        rng = np.random.default_rng(index)
        shape = (31, 37, 13 + index)
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        values = ((sum(axis**2 for axis in axes) < 0.6) * rng.uniform(50, 200, shape)).astype(np.float32)
        anat = folder / "bids" / f"sub-{index:02}" / "anat"
        anat.mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, np.diag([5, 5, 5, 1])), anat / f"sub-{index:02}_T1w.nii.gz")


def extract_into(base: Path, name: str) -> Outcome:
    """One whole extraction into the store of that name."""
    import torch

    from cache_schema.common.pipeline_file import Pipeline
    from extract.extraction import run_extraction
    from extract.planning.config import ExtractSection

    torch.set_num_threads(1)
    section = ExtractSection.model_validate(
        {
            "input": {"bids": "bids"},
            "canvas": 56,
            "backbone": {"kind": "untrained", "size": "tiny"},
            "tokens": ["cls", "patch_mean", "patches"],
            "dtype": "float32",
            "device": "cpu",
            "workers": 0,
        }
    )
    data = {"run": {"folder": name}, "cache": {"store": f"{name}/cache.zarr"}}
    return run_extraction(Pipeline(data, base), section, progress=False)


def compete(base: Path, name: str, go: Barrier) -> None:
    """What a process that may be killed does."""
    go.wait()
    extract_into(base, name)


def start_two(context: ForkServerContext, base: Path, name: str) -> list[BaseProcess]:
    """Two processes that begin together."""
    go = context.Barrier(3)  # the third is this process
    processes: list[BaseProcess] = [context.Process(target=compete, args=(base, name, go)) for _ in "ab"]
    for process in processes:
        process.start()
    go.wait()
    return processes


def committed(location: Path) -> dict[str, str]:
    """Digest of every committed volume; empty when there is no store."""
    from cache_schema.store.reader import open_store

    if not location.exists():
        return {}
    return {str(entry.key): entry.digest for entry in open_store(location).entries}


def problems(location: Path) -> list[str]:
    """What verifying a store names; none when there is no store yet."""
    from cache_schema.verify.verify import verify_store

    if not location.exists():
        return []
    return [
        f"{problem.volume} {problem.array}: {problem.problem}"
        for problem in verify_store(str(location)).problems
    ]


def unfinished(location: Path) -> list[Path]:
    """Partial files and half-built stores."""
    found = [*location.parent.glob(f".{location.name}.creating*"), *(location / "tmp").glob("*")]
    return found + list(location.glob("table/.*"))


def one_round(
    context: ForkServerContext,
    base: Path,
    number: int,
    moment: float,
    reference: tuple[str, dict[str, str]],
    tally: Tally,
) -> None:
    """Start two, kill, look, finish, compare."""
    name = f"round{number}"
    location = base / name / "cache.zarr"
    processes = start_two(context, base, name)
    time.sleep(moment)
    doomed = processes if number % 3 == 2 else processes[number % 2 : number % 2 + 1]
    for process in doomed:
        process.kill()
    there, at_kill = location.exists(), committed(location)
    for process in processes:
        process.join()
    hit = sum(process.exitcode == -9 for process in doomed)
    tally.survivor_failed += any(process.exitcode not in (0, -9) for process in processes)
    tally.before_store += bool(hit) and not there
    tally.before_commit += bool(hit) and there and not at_kill
    tally.while_writing += bool(hit) and 0 < len(at_kill) < len(reference[1])
    aftermath(base, number, hit, at_kill, reference, tally)


def aftermath(
    base: Path,
    number: int,
    hit: int,
    at_kill: dict[str, str],
    reference: tuple[str, dict[str, str]],
    tally: Tally,
) -> None:
    """Look at what kills left, finish it, and compare with an undisturbed extraction."""
    name = f"round{number}"
    location = base / name / "cache.zarr"
    found, after_kill, left = problems(location), committed(location), unfinished(location)
    outcome = extract_into(base, name)
    found, final = found + problems(location), committed(location)
    digest, volumes = reference
    lost = [key for key, value in volumes.items() if final.get(key) != value]
    lost += [key for key, value in {**at_kill, **after_kill}.items() if final.get(key) != value]
    tally.kills += hit
    tally.rounds += bool(hit)
    tally.lost += len(set(lost))
    tally.torn += len(found)
    tally.wrong_digest += outcome.content_digest != digest
    still = sum(path.exists() for path in left)
    tally.left_over += still
    tally.swept += len(left) - still
    for line in found:
        print(f"round {number}: {line}", file=sys.stderr)
    shutil.rmtree(base / name)


def run_rounds(base: Path, kills: int, volumes: int, seconds: float, seed: int) -> tuple[Tally, float]:
    """Rounds until that many kills have hit, or the time is over."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    write_cohort(base, volumes)
    outcome = extract_into(base, "undisturbed")
    reference = (outcome.content_digest, committed(base / "undisturbed" / "cache.zarr"))
    rng, tally = random.Random(seed), Tally()
    for process in start_two(context, base, "warm"):  # the server imports on its first use
        process.join()
    begin = time.perf_counter()
    for process in start_two(context, base, "timed"):
        process.join()
    whole = time.perf_counter() - begin
    number = 0
    while tally.kills < kills and time.perf_counter() - begin < seconds:
        span = whole * EARLY if number % 2 else whole
        one_round(context, base, number, rng.uniform(0, span), reference, tally)
        number += 1
    return tally, whole


def as_json(tally: Tally, whole: float, volumes: int, seconds: float) -> dict[str, Any]:
    """The figures as one JSON object."""
    return {
        **asdict(tally),
        "clean": tally.clean,
        "volumes": volumes,
        "undisturbed_seconds": round(whole, 3),
        "seconds": round(seconds, 1),
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def main() -> int:
    """Print the figures, and write them when asked; 1 when anything was lost."""
    parser = argparse.ArgumentParser(description="Kill extractions and count what is lost or torn.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--volumes", type=int, default=9)
    parser.add_argument("--minutes", type=float, default=15.0, help="stop after this time in any case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tally, whole = run_rounds(
            Path(folder), options.kills, options.volumes, options.minutes * 60, options.seed
        )
    result = as_json(tally, whole, options.volumes, time.perf_counter() - start)
    print("\n".join(f"{name:<20}  {value}" for name, value in result.items()))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if tally.clean and tally.kills >= options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
