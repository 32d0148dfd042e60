"""Five folds of DinoAtten3D's head on 300 bags of 50 x 384: stacked, beside a plain PyTorch loop.

Both train the same runs on the same batches for the same epochs, without early stop; the plain loop
takes one fold after another, vectorised over the batch, with `torch.optim.Adam`. The two alternate in
one process and the medians are compared.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from plain import Attention, train_plain
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.heads.attention import AttentionSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked

LOSSES = {
    "cross_entropy": LossSpec(),
    "dinoatten3d": LossSpec.model_validate({"supcon": 1.0, "class_variance": 0.1}),
}


def make_data(n: int, slices: int, dim: int) -> tuple[Bags, Tensor]:
    """Noise with a weak signal in five dimensions."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = torch.randn(n, slices, dim, generator=generator)
    x[..., :5] += 0.2 * y[:, None, None]
    return Bags(x, torch.ones(n, slices, dtype=torch.bool), torch.zeros(n, slices)), y


def make_runs(n: int, folds: int, epochs: int, loss: LossSpec) -> list[RunSpec]:
    """One run per fold, plain batches, no early stop."""
    parts = np.array_split(np.random.default_rng(0).permutation(n), folds)
    train = TrainSpec(start="plain", epochs=epochs, patience=None, class_balanced=False)
    nobody = np.array([], dtype=np.int64)
    return [
        RunSpec(
            "benchmark",
            0,
            fold,
            0,
            AttentionSpec(embedding=(256, 128), centre=False),
            loss,
            train,
            np.concatenate(parts[:fold] + parts[fold + 1 :]),
            nobody,
        )
        for fold in range(folds)
    ]


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(args: argparse.Namespace, loss: LossSpec) -> dict[str, Any]:
    """Interleaved medians of both ways."""
    bags, y = make_data(args.volumes, args.slices, args.dim)
    weight = torch.ones(len(y))
    warm = make_runs(args.volumes, args.folds, 1, loss)
    train_stacked(bags, y, weight, 2, warm)
    train_plain(Attention, bags, y, warm)
    runs = make_runs(args.volumes, args.folds, args.epochs, loss)
    ours, plain = [], []
    for _ in range(args.repeats):
        ours.append(seconds(lambda: train_stacked(bags, y, weight, 2, runs)))
        plain.append(seconds(lambda: train_plain(Attention, bags, y, runs)))
    steps = sum(-(-len(run.train_rows) // run.training.batch_size) for run in runs) * args.epochs
    return {
        "stacked_seconds": median(ours),
        "plain_seconds": median(plain),
        "stacked_ms_per_run_step": 1e3 * median(ours) / steps,
        "plain_ms_per_run_step": 1e3 * median(plain) / steps,
        "ratio": median(plain) / median(ours),
        "ratio_low": min(plain) / max(ours),
        "ratio_high": max(plain) / min(ours),
    }


def main() -> None:
    """Print a table, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("volumes", 300), ("slices", 50), ("dim", 384), ("folds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    results = {name: measure(args, loss) for name, loss in LOSSES.items()}
    print(f"{args.folds} folds, {args.volumes} x {args.slices} x {args.dim} float32, {args.epochs} epochs, ")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {args.repeats}\n")
    print("| loss | stacked s | one by one s | stacked ms per run and step | one by one | ratio (range) |")
    print("|---|---|---|---|---|---|")
    for name, r in results.items():
        print(
            f"| {name} | {r['stacked_seconds']:.2f} | {r['plain_seconds']:.2f} "
            f"| {r['stacked_ms_per_run_step']:.2f} | {r['plain_ms_per_run_step']:.2f} "
            f"| {r['ratio']:.2f} ({r['ratio_low']:.2f}-{r['ratio_high']:.2f}) |"
        )
    if args.json:
        settings = {k: v for k, v in vars(args).items() if k != "json"}
        args.json.write_text(json.dumps({"settings": settings, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
