"""Kill extractions at single system calls, and count what is lost or torn.

    python benchmarks/write_kills.py --kills 100 --json out.json

An undisturbed extraction is counted under strace: every call of each thread that writes, names, deletes or
syncs something in its folder. Each round draws one of them, and a new extraction gets SIGKILL when it comes
to that call (`strace --inject`), so that the call is the first that does not happen. Every third round a
second process, which lives, races it to create the store and to write the same volumes. What follows is that
of `kills.py`: verify, do it again, compare with the undisturbed extraction.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from kills import PRELOAD, Tally, aftermath, committed, extract_into, write_cohort
from power_loss.recording import why_not

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext
    from multiprocessing.synchronize import Barrier, Semaphore

CALLS = (
    *("openat", "write", "pwrite64", "rename", "renameat2", "link", "linkat", "unlink", "unlinkat"),
    *("mkdir", "rmdir", "fsync", "ftruncate"),
)
PR_SET_PTRACER, ANYBODY = 0x59616D61, ctypes.c_ulong(-1)


def wait_and_extract(base: Path, name: str, ready: Semaphore, go: Barrier) -> None:
    """What a process does that strace holds; where only parents may trace, it says that anybody may."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
    ready.release()  # from here on it makes no call that counts until all are there
    go.wait()
    extract_into(base, name)


def traced(
    context: ForkServerContext, base: Path, name: str, log: Path, *inject: str, rival: bool = False
) -> tuple[int | None, bool]:
    """One extraction under strace: its exit code, and whether an untraced rival ended well."""
    ready, go = context.Semaphore(0), context.Barrier(3 if rival else 2)
    process, *others = [
        context.Process(target=wait_and_extract, args=(base, name, ready, go)) for _ in range(1 + rival)
    ]
    for each in (process, *others):
        each.start()
    for _ in (process, *others):
        ready.acquire()
    calls = ",".join(f"?{name}" for name in CALLS)
    command = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={calls}", "-e", "signal=none", *inject]
    with subprocess.Popen([*command, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "attached" not in said:
            process.kill()
            sys.exit(f"strace may not trace here: {said.strip()}")
        go.wait()
        for each in (process, *others):
            each.join()
    return process.exitcode, all(each.exitcode == 0 for each in others)


def counted(log: Path, folder: Path) -> list[tuple[str, int]]:
    """The calls on something in the folder: name, and number among its thread's calls of that name."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        thread, _, rest = line.partition(" ")
        call = rest.strip().partition("(")[0]
        if call not in CALLS:
            continue
        seen[thread, call] += 1
        if str(folder) in rest and (call != "openat" or "O_CREAT" in rest):
            found.append((call, seen[thread, call]))
    return found


def one_round(
    context: ForkServerContext,
    base: Path,
    number: int,
    point: tuple[str, int],
    reference: tuple[str, dict[str, str]],
    tally: Tally,
) -> bool:
    """Kill at a call, look, finish, compare; whether the call was reached."""
    call, count = point
    location = base / f"round{number}" / "cache.zarr"
    inject = ["-e", f"inject={call}:signal=KILL:when={count}"]
    rival = number % 3 == 2
    code, well = traced(context, base, f"round{number}", base / "log", *inject, rival=rival)
    hit = code == -9
    tally.survivor_failed += not well or code not in (0, -9)
    there, at_kill = location.exists(), committed(location)
    if hit and not rival:
        tally.before_store += not there
        tally.before_commit += there and not at_kill
        tally.while_writing += 0 < len(at_kill) < len(reference[1])
    aftermath(base, number, hit, at_kill, reference, tally)
    return hit


def run_rounds(base: Path, kills: int, volumes: int, seconds: float, seed: int) -> tuple[Tally, Counter[str]]:
    """Rounds until that many kills have hit, or the time is over; and at which calls they did."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    write_cohort(base, volumes)
    outcome = extract_into(base, "undisturbed")
    reference = (outcome.content_digest, committed(base / "undisturbed" / "cache.zarr"))
    traced(context, base, "counted", base / "log")
    points = counted(base / "log", base / "counted")
    print(f"{len(points)} calls to draw from: {dict(Counter(call for call, _ in points))}", flush=True)
    rng, tally, fell, begin, number = random.Random(seed), Tally(), Counter[str](), time.perf_counter(), 0
    while tally.kills < kills and time.perf_counter() - begin < seconds:
        point = rng.choice(points)
        fell[point[0]] += one_round(context, base, number, point, reference, tally)
        number += 1
    return tally, fell


def main() -> int:
    """Print the figures, and write them when asked; 1 when anything was lost."""
    parser = argparse.ArgumentParser(description="Kill extractions at system calls; count losses.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--volumes", type=int, default=9)
    parser.add_argument("--minutes", type=float, default=20.0, help="stop after this time in any case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        tally, fell = run_rounds(base, options.kills, options.volumes, options.minutes * 60, options.seed)
    result = {**asdict(tally), "clean": tally.clean, "volumes": options.volumes, "calls": dict(fell)}
    print("\n".join(f"{name:<20}  {value}" for name, value in result.items()))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if tally.clean and tally.kills >= options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
