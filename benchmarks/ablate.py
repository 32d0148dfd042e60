"""DinoAtten3D's loss grid, 125 runs on 300 bags of 50 x 384: ours beside a plain PyTorch loop.

Both train on the same batches for the same epochs, without early stop; the plain loop takes one run after
another (a sample of the grid, since its runs cost the same), ours all 125. The two alternate in one
process; the medians of the cost per run and step are compared. Then the whole grid with the default early
stop, and where the time goes. Leave `OMP_WAIT_POLICY` alone on an idle machine: `passive` halves the speed of
the plain loop and leaves ours as it is.
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
from plain import Attention, GatedAttention, Mst, train_plain
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from aggregate.bags.bags import Bags
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.gated_attention import GatedAttentionSpec
from aggregate.heads.mst import MstSpec
from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked
from aggregate.training.workers import single_threaded

DINOATTEN3D = {"embedding": (256, 128), "centre": False}
CASES: dict[str, tuple[HeadSpec, type[nn.Module]]] = {
    "attention": (AttentionSpec(**DINOATTEN3D), Attention),
    "gated_attention": (GatedAttentionSpec(**DINOATTEN3D), GatedAttention),
    "mst": (MstSpec(), Mst),
}
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of SupCon, and a tenth of them of class variance: around the published 1 and 0.1, none of them 0, so
that no run is cheaper than another."""

FAMILIES = {
    "matrix products of slices": ("aten::mm", "aten::addmm"),
    "matrix products behind the pool, attention sums": ("aten::bmm", "aten::baddbmm"),
    "optimiser": ("aten::_fused_adam_",),
    "tanh and other activations": ("aten::tanh_", "aten::sigmoid", "aten::sigmoid_", "aten::relu"),
    "gathering slices": ("aten::index_select", "aten::index"),
}


def make_data(n: int, slices: int, dim: int) -> tuple[Bags, Tensor]:
    """Noise with a weak signal in five dimensions."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = torch.randn(n, slices, dim, generator=generator)
    x[..., :5] += 0.2 * y[:, None, None]
    return Bags(x, torch.ones(n, slices, dtype=torch.bool), torch.zeros(n, slices)), y


def make_grid(n: int, head: HeadSpec, train: TrainSpec, validation: float = 0.0) -> list[RunSpec]:
    """5 x 5 weights times 5 folds; the runs of a configuration's folds side by side."""
    order = np.random.default_rng(0).permutation(n)
    parts = np.array_split(order, 5)
    runs = []
    for supcon in WEIGHTS:
        for variance in WEIGHTS:
            loss = LossSpec.model_validate({"supcon": supcon, "class_variance": variance / 10})
            for fold in range(5):
                rest = np.concatenate(parts[:fold] + parts[fold + 1 :])
                held = round(len(rest) * validation)
                name = f"supcon {supcon}, variance {variance / 10}"
                runs.append(RunSpec(name, 0, fold, 0, head, loss, train, rest[held:], rest[:held]))
    return runs


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def n_steps(runs: list[RunSpec]) -> int:
    """Optimiser steps of all runs together, without early stop."""
    return sum(-(-len(run.train_rows) // run.training.batch_size) * run.training.epochs for run in runs)


def compare(args: argparse.Namespace, bags: Bags, y: Tensor, name: str) -> dict[str, float]:
    """Interleaved medians of both ways for one head."""
    head, plain_head = CASES[name]
    weight = torch.ones(len(y))
    train = TrainSpec(start="plain", epochs=args.epochs, patience=None, class_balanced=False)
    grid = make_grid(args.volumes, head, train)
    sample = make_grid(args.volumes, head, train.model_copy(update={"epochs": 1}))[:: 125 // args.sample]
    train_stacked(bags, y, weight, 2, sample)
    train_plain(plain_head, bags, y, sample[:1])
    ours, plain = [], []
    for _ in range(args.repeats):
        ours.append(1e3 * seconds(lambda: train_stacked(bags, y, weight, 2, grid)) / n_steps(grid))
        plain.append(1e3 * seconds(lambda: train_plain(plain_head, bags, y, sample)) / n_steps(sample))
    return {
        "ours_ms": median(ours),
        "plain_ms": median(plain),
        "ratio": median(plain) / median(ours),
        "low": min(plain) / max(ours),
        "high": max(plain) / min(ours),
    }


def whole_grid(args: argparse.Namespace, bags: Bags, y: Tensor) -> tuple[float, float]:
    """Seconds of all 125 runs with the default early stop, and the mean of their epochs."""
    train = TrainSpec(start="plain", class_balanced=False)
    runs = make_grid(args.volumes, CASES["attention"][0], train, validation=0.2)
    trained: list[Any] = []
    taken = seconds(lambda: trained.extend(train_stacked(bags, y, torch.ones(len(y)), 2, runs)))
    return taken, float(np.mean([run.epochs for run in trained]))


def where_the_time_goes(args: argparse.Namespace, bags: Bags, y: Tensor) -> dict[str, float]:
    """Shares of one epoch of the grid on one core by kind of work, from the profiler's self times."""
    train = TrainSpec(start="plain", epochs=1, patience=None, class_balanced=False)
    runs = make_grid(args.volumes, CASES["attention"][0], train)
    # Blocks in threads of their own are hidden from the profiler.
    with single_threaded(), profile(activities=[ProfilerActivity.CPU]) as found:
        wall = seconds(lambda: train_stacked(bags, y, torch.ones(len(y)), 2, runs))
    own = {event.key: event.self_cpu_time_total / 1e6 for event in found.key_averages()}
    shares = {family: sum(own.get(key, 0.0) for key in keys) / wall for family, keys in FAMILIES.items()}
    other = sum(own.values()) / wall - sum(shares.values())
    return {
        **shares,
        "other tensor work": other,
        "Python, sampling": max(0.0, 1 - sum(shares.values()) - other),
    }


def limit(bags: Bags) -> dict[str, float]:
    """One core: GFLOP/s of a large product, and of the grid's own two."""
    own = torch.randn(25 * 64, bags.x.shape[2])
    tokens = torch.randn(16 * bags.x.shape[1], bags.x.shape[2])
    hidden = own @ tokens.T
    large = torch.randn(4096, 4096)
    work = 2 * own.shape[0] * own.shape[1] * tokens.shape[0] / 1e9
    with single_threaded():
        return {
            "large": 2 * 4096**3 / 1e9 / min(seconds(lambda: large @ large) for _ in range(5)),
            "forward": work / min(seconds(lambda: own @ tokens.T) for _ in range(50)),
            "backward": work / min(seconds(lambda: hidden @ tokens) for _ in range(50)),
        }


def main() -> None:
    """Print the tables, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("volumes", 300), ("slices", 50), ("dim", 384)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=int, default=2, help="of ours; the plain sample takes one")
    parser.add_argument("--sample", type=int, default=5, help="runs of the grid that the plain loop trains")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    bags, y = make_data(args.volumes, args.slices, args.dim)
    print(
        f"125 runs, {args.volumes} x {args.slices} x {args.dim}, {torch.get_num_threads()} threads, ", end=""
    )
    print(f"torch {torch.__version__}, medians of {args.repeats}\n")
    print("| head | ours, ms per run and step | one by one | ratio (range) |\n|---|---|---|---|")
    results = {}
    for name in CASES:
        results[name] = r = compare(args, bags, y, name)
        spread = f"{r['ratio']:.1f} ({r['low']:.1f}-{r['high']:.1f})"
        print(f"| {name} | {r['ours_ms']:.2f} | {r['plain_ms']:.2f} | {spread} |", flush=True)
    taken, epochs = whole_grid(args, bags, y)
    print(f"\nthe whole grid with the default early stop: {taken:.1f} s ({epochs:.0f} epochs on average)\n")
    shares, machine = where_the_time_goes(args, bags, y), limit(bags)
    print("| where an epoch goes | share |\n|---|---|")
    print("\n".join(f"| {family} | {100 * share:.0f} % |" for family, share in shares.items()))
    print("\nGFLOP/s: " + ", ".join(f"{name} {value:.0f}" for name, value in machine.items()))
    if args.json:
        summary = {
            "ratio_per_run": {name: r["ratio"] for name, r in results.items()},
            "grid_seconds": taken,
            "runs": 125,
            "cases": results,
            "grid_epochs": epochs,
            "shares": shares,
            "gflops": machine,
        }
        args.json.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
