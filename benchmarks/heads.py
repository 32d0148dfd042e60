"""What a training step of each head costs: stacked runs of one fold, beside the attention head's step.

The runs differ in their learning rate, so that they share batches as the configurations of an ablation do.
A step is everything that an optimiser step takes: batch, pool, embedding, losses, backward, Adam. The
processor time of all threads is counted, which other work on the machine changes less than the clock.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from train import make_data

from aggregate.heads.base import HeadBase
from aggregate.heads.registry import HEADS
from aggregate.losses.registry import LossSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked


def make_runs(head: HeadBase, n: int, batch: int, runs: int, epochs: int) -> list[RunSpec]:
    """As many learning rates on the same bags, no early stop."""
    rows, nobody = np.arange(n), np.array([], dtype=np.int64)
    trains = [
        TrainSpec(
            start="plain",
            epochs=epochs,
            patience=None,
            class_balanced=False,
            batch_size=batch,
            learning_rate=rate,
        )
        for rate in np.geomspace(1e-4, 1e-3, runs).tolist()
    ]
    return [
        RunSpec(f"rate {place}", 0, 0, 0, head, LossSpec(), train, rows, nobody)
        for place, train in enumerate(trains)
    ]


def ms_per_step(head: HeadBase, args: argparse.Namespace) -> float:
    """Of all runs together: a longer training less a shorter one, so that nothing done once counts."""
    n = args.batch * args.steps
    bags, y = make_data(n, args.slices, args.dim)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(1 + args.repeats):
        for epochs, found in seconds.items():
            runs = make_runs(head, n, args.batch, args.runs, epochs)
            start = time.process_time()
            train_stacked(bags, y, torch.ones(n), 2, runs)
            found.append(time.process_time() - start)
    # What else a machine does only ever adds, and the first of each warms up.
    short, long = (min(found[1:]) for found in seconds.values())
    return 1e3 * (long - short) / args.steps


def main() -> None:
    """Print a table, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("runs", 15), ("batch", 16), ("slices", 50), ("dim", 384)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--heads", nargs="*", help="kinds; all of ours unless said")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    kinds = {kind.model_fields["kind"].default: kind for kind in HEADS if kind.examples()}
    wanted = dict.fromkeys(["attention", *(args.heads or kinds)])
    found = {name: ms_per_step(kinds[name](), args) for name in wanted}
    print(f"{args.runs} runs, batches of {args.batch} x {args.slices} x {args.dim} float32, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, best of {args.repeats}\n")
    print("| head | processor ms per step of all runs | beside attention |")
    print("|---|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.1f} | {value / found['attention']:.1f} |")
    if args.json:
        args.json.write_text(json.dumps({"settings": vars(args) | {"json": None}, "ms": found}) + "\n")


if __name__ == "__main__":
    main()
