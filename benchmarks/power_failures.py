"""Power failures at any place of recorded commands: what is lost or not repaired; which sync prevents it.

    python benchmarks/power_failures.py --failures 200

Real commands (extract, seal, extract more, seal, pack, unpack, extract --replace) run once under strace,
which records every system call below Python and Rust that changes a file, with its bytes. Then the disk is
rebuilt as it may be after a failure at a random call, with what was not synced lost, cut, zeroed or
reordered. What a command had promised by then is read back whole and verified, and the extraction is run
again.
"""

import argparse
import contextlib
import io
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from power_loss import recording, simulate


def main() -> int:
    """Print both tables; 1 when anything was lost, or a sync could be left out unnoticed."""
    parser = argparse.ArgumentParser(description="Simulate power failures and count what is lost or torn.")
    parser.add_argument("--failures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if (reason := recording.why_not()) is not None:
        sys.exit(reason)
    rng, bad, promised, started = random.Random(options.seed), 0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            made = simulate.make_recording(Path(folder) / "recording")
        for number in range(options.failures):
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                volumes, faults = simulate.one_failure(made, rng)
            promised, bad = promised + len(volumes), bad + bool(faults)
            for fault in faults:
                print(f"failure {number}: {fault}", file=sys.stderr)
        print(
            f"{len(made.events)} recorded calls and marks; {options.failures} failures, {bad} with a fault;"
        )
        print(f"at them {promised} volumes were promised; {time.perf_counter() - started:.0f} s\n")
        print("| without waiting for | waits | a failure then shows |\n|---|---|---|")
        for what, where in simulate.sync_places(made).items():
            found = simulate.loss_without(made, where, rng)
            if not found and not simulate.needless(what):
                bad += 1
            print(
                f"| {what} | {len(where)} | {found[0].strip().split(';')[0][:90] if found else 'nothing'} |",
                flush=True,
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
