"""Fuzz every parser: inputs, accepted, refused, faults, and how many of the parser's lines were reached.

python benchmarks/fuzz.py --inputs 100000          all parsers, in equal shares
python benchmarks/fuzz.py --only "NIfTI volume"    one of them
python benchmarks/fuzz.py --case "NIfTI volume" 0 4711 --keep FOLDER    one case again, its files kept

Each parser runs in a process of its own with a limit on its memory; a process that hangs in C is ended.
"""

import argparse
import collections
import faulthandler
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzz.run import LIMIT_S, Lines, make_case, seeds_of, try_case, write_case
from fuzz.target import Target, all_targets

MEMORY_BYTES = 1 << 30
"""What a parser may take beyond what the process has when it begins."""
COUNTED = 8
"""Lines are counted in one of so many cases: it costs as much again."""


def main() -> int:
    asked = _arguments()
    if asked.case:
        return _one_case(asked.case[0], int(asked.case[1]), int(asked.case[2]), asked.keep)
    targets = all_targets()
    if asked.child:
        _child(targets[asked.child], asked.seed, asked.first, asked.inputs)
        return 0
    chosen = [name for name in targets if asked.only in (None, name)]
    each = -(-asked.inputs // len(chosen))
    print("| parser | inputs | accepted | refused | faults | slowest s | lines reached |")
    print("|---|---|---|---|---|---|---|")
    total = [0, 0, 0, 0]
    for name in chosen:
        found = _run_child(name, asked.seed, each)
        row = [found["inputs"], found["accepted"], found["refused"], found["fault"]]
        total = [a + b for a, b in zip(total, row, strict=True)]
        cells = [*map(str, row), f"{found['slowest']:.2f}", f"{found['lines']:.0%}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        for place, (count, number, said) in found["faults"].items():
            print(
                f"  {count} x {place}, first case ({name!r}, {asked.seed}, {number}): {said}", file=sys.stderr
            )
    print(f"| all {len(chosen)} | {' | '.join(map(str, total))} | | |")
    return 1 if total[3] else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only")
    parser.add_argument("--case", nargs=3, metavar=("PARSER", "SEED", "NUMBER"))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def _one_case(name: str, seed: int, number: int, keep: Path | None) -> int:
    """Repeat one case."""
    target = all_targets()[name]
    with tempfile.TemporaryDirectory() as folder:
        files = make_case(target, seed, number)
        if keep is not None:
            write_case(files, keep)
        outcome = try_case(target, files, Path(folder) / "case")
    print(outcome)
    return 1 if outcome.verdict == "fault" else 0


def _run_child(name: str, seed: int, inputs: int) -> dict:
    """Fuzz one parser in another process; one that dies is a fault, and the next goes on behind it."""
    total = {"inputs": 0, "accepted": 0, "refused": 0, "fault": 0, "slowest": 0.0, "lines": 0.0, "faults": {}}
    first = 0
    while first < inputs:
        command = [sys.executable, __file__, "--child", name, "--seed", str(seed)]
        command += ["--first", str(first), "--inputs", str(inputs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            raise SystemExit(f"{name}: nothing could be tried: {done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        for key in ("inputs", "accepted", "refused", "fault"):
            total[key] += found[key]
        total["slowest"], total["lines"] = (max(total[key], found[key]) for key in ("slowest", "lines"))
        total["faults"] |= found["faults"]
        if done.returncode == 0:
            break
        first += found["inputs"] + 1
        total["inputs"], total["fault"] = total["inputs"] + 1, total["fault"] + 1
        total["faults"][f"the process ended with {done.returncode}"] = (1, first - 1, done.stderr[-2000:])
    return total


def _child(target: Target, seed: int, first: int, inputs: int) -> None:
    """Try cases and say every second how far it came, so that a death does not take the counts along."""
    counts = collections.Counter({"accepted": 0, "refused": 0, "fault": 0})
    faults: dict[str, tuple[int, int, str]] = {}
    slowest, spoken = 0.0, 0.0
    lines = Lines(target.modules)
    out = os.dup(1)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115

    def say() -> None:
        told = {
            **counts,
            "inputs": counts.total(),
            "slowest": slowest,
            "lines": lines.share,
            "faults": faults,
        }
        os.write(out, (json.dumps(told) + "\n").encode())

    seeds_of(target)
    say()
    _limit_memory()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        for number in range(first, inputs):
            files = make_case(target, seed, number)
            started, busy = time.perf_counter(), time.process_time()
            say() if started - spoken > 0.2 else None
            spoken = started if started - spoken > 0.2 else spoken
            faulthandler.dump_traceback_later(10 * LIMIT_S, exit=True, file=2)
            if number % COUNTED == 0:
                with lines.counting():
                    outcome = try_case(target, files, Path(place) / "case", 4 * LIMIT_S)
            else:
                outcome = try_case(target, files, Path(place) / "case")
            faulthandler.cancel_dump_traceback_later()
            slowest = max(slowest, time.process_time() - busy if number % COUNTED else 0.0)
            counts[outcome.verdict] += 1
            if outcome.verdict == "fault":
                key = f"{outcome.where} {outcome.said[:60]}"
                count, where, said = faults.get(key, (0, number, outcome.said))
                faults[key] = (count + 1, where, said)
        say()


def _limit_memory() -> None:
    """Cap the address space, so that what allocates before it checks ends with a MemoryError."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, now + MEMORY_BYTES))


if __name__ == "__main__":
    sys.exit(main())
