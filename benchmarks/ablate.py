"""DinoAtten3D's loss grid, 125 runs on 300 bags of 50 x 384: ours, an earlier commit, a plain PyTorch loop.

    git worktree add --detach /tmp/before 46631a6
    python benchmarks/ablate.py --beside /tmp/before --json ablate.json

All train on the same batches for the same epochs, without early stop; the plain loop takes one run after
another (a sample of the grid, since its runs cost the same), ours all 125. They take turns, ours in a process
of its own each time, and ratios are of one turn. `--ways` are values of `train.products`. Leave
`OMP_WAIT_POLICY` alone on an idle machine: `passive` halves the speed of the plain loop and leaves ours as it
is.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
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
CASES: dict[str, HeadSpec] = {
    "attention": AttentionSpec(**DINOATTEN3D),
    "gated_attention": GatedAttentionSpec(**DINOATTEN3D),
    "mst": MstSpec(),
}
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of SupCon, and a tenth of them of class variance: around the published 1 and 0.1, none of them 0, so
that no run is cheaper than another."""

GRID = "grid"
"""The whole of it, with the attention head."""

FAMILIES = {
    "matrix products of slices": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
    "matrix products behind the pool, attention sums": ("aten::bmm", "aten::baddbmm"),
    "optimiser": ("aten::_fused_adam_", "aten::lerp_", "aten::linalg_vector_norm", "aten::addcmul_"),
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


def plain_ms(args: argparse.Namespace, bags: Bags, y: Tensor, name: str) -> float:
    """Of the plain loop, per run and step. It imports today's package, which an earlier tree has not."""
    from plain import Attention, GatedAttention, Mst, train_plain

    head = CASES[name]
    plain_head = {"attention": Attention, "gated_attention": GatedAttention, "mst": Mst}[name]
    train = TrainSpec(start="plain", epochs=1, patience=None, class_balanced=False)
    sample = make_grid(args.volumes, head, train)[:: 125 // args.sample]
    train_plain(plain_head, bags, y, sample[:1])
    return 1e3 * seconds(lambda: train_plain(plain_head, bags, y, sample)) / n_steps(sample)


def told(args: argparse.Namespace, head: HeadSpec, slices: int, dim: int) -> dict[str, Any]:
    """What training is told to multiply by; nothing where the package knows of no choice."""
    if args.products is None:
        return {}
    if args.products != "auto":
        return {"products": args.products}
    from aggregate.training.probe import Work, probe, shapes_of

    train = TrainSpec(start="plain", patience=None, class_balanced=False)
    runs = sorted(make_grid(args.volumes, head, train), key=lambda run: run.fold)
    return {"products": probe(shapes_of([Work(head, runs, slices, dim)])).taken}


def ours(args: argparse.Namespace, bags: Bags, y: Tensor) -> dict[str, Any]:
    """One measurement of the package that is on the path: of one head, or of the whole grid."""
    whole = args.ours == GRID
    head = CASES["attention" if whole else args.ours]
    how = told(args, head, bags.x.shape[1], bags.x.shape[2])
    epochs = args.grid_epochs if whole else args.epochs
    train = TrainSpec(start="plain", epochs=epochs, patience=None, class_balanced=False, **how)
    runs = make_grid(args.volumes, head, train, validation=0.2 if whole else 0.0)
    warm = [replace(run, train=train.model_copy(update={"epochs": 1})) for run in runs[::25]]
    weight = torch.ones(len(y))
    train_stacked(bags, y, weight, 2, warm)
    start = time.process_time()
    taken = seconds(lambda: train_stacked(bags, y, weight, 2, runs))
    cpu = time.process_time() - start
    return {"seconds": taken, "ms": 1e3 * taken / n_steps(runs), "cpu_ms": 1e3 * cpu / n_steps(runs), **how}


def in_a_process(args: argparse.Namespace, what: str, tree: Path, products: str | None) -> dict[str, Any]:
    """`ours` by the package of a working tree."""
    names = ("volumes", "slices", "dim", "epochs", "grid_epochs")
    asked = [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in names]
    asked += [f"--ours={what}", *([] if products is None else [f"--products={products}"])]
    done = subprocess.run(
        [sys.executable, __file__, *asked],
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ways_of(args: argparse.Namespace) -> dict[str, tuple[Path, str | None]]:
    """Tree and product of everything that is compared."""
    here = Path(__file__).resolve().parents[1]
    today = {} if args.beside is None else {"beside": (args.beside.resolve(), None)}
    return today | {product: (here, product) for product in args.ways}


def compare(args: argparse.Namespace, bags: Bags, y: Tensor, name: str) -> dict[str, Any]:
    """All ways and the plain loop in turn, for one head: medians, and medians of the ratios of a turn."""
    ways = ways_of(args)
    turns: list[dict[str, Any]] = []
    for _ in range(args.repeats):
        found = {way: in_a_process(args, name, *asked) for way, asked in ways.items()}
        turns.append({"plain": plain_ms(args, bags, y, name), **found})
    return {
        "plain_ms": median(turn["plain"] for turn in turns),
        **{way: _summary(turns, way, name) for way in ways},
    }


def _summary(turns: list[dict[str, Any]], way: str, name: str) -> dict[str, Any]:
    """Of one way."""
    ratios = [turn["plain"] / turn[way]["ms"] for turn in turns]
    return {
        "ms": median(turn[way]["ms"] for turn in turns),
        "cpu_ms": median(turn[way]["cpu_ms"] for turn in turns),
        "ratio": median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "products": sorted({turn[way].get("products", "torch") for turn in turns}),
    }


def whole_grid(args: argparse.Namespace) -> dict[str, float]:
    """Median seconds of all 125 runs by every way, in turn and at equal epochs."""
    ways = ways_of(args)
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(args.repeats):
        for way, asked in ways.items():
            found[way].append(in_a_process(args, GRID, *asked)["seconds"])
    return {way: median(taken) for way, taken in found.items()}


def where_the_time_goes(args: argparse.Namespace, bags: Bags, y: Tensor) -> dict[str, float]:
    """Shares of one epoch of the grid on one core by kind of work, from the profiler's self times."""
    train = TrainSpec(start="plain", epochs=1, patience=None, class_balanced=False)
    runs = make_grid(args.volumes, CASES["attention"], train)
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
    args = arguments()
    bags, y = make_data(args.volumes, args.slices, args.dim)
    if args.ours:
        print(json.dumps(ours(args, bags, y)))
        return
    print(
        f"125 runs, {args.volumes} x {args.slices} x {args.dim}, {torch.get_num_threads()} threads, ", end=""
    )
    print(f"torch {torch.__version__}, medians of {args.repeats}\n")
    print("| head | way | ms per run and step | of the processor | one by one, ms | ratio (range) |")
    print("|---|---|---|---|---|---|")
    results = {}
    for name in args.heads:
        results[name] = found = compare(args, bags, y, name)
        for way in ways_of(args):
            r = found[way]
            called = f"{way} ({', '.join(r['products'])})" if way == "auto" else way
            spread = f"{r['ratio']:.1f} ({r['low']:.1f}-{r['high']:.1f})"
            print(f"| {name} | {called} | {r['ms']:.2f} | {r['cpu_ms']:.2f} | ", end="")
            print(f"{found['plain_ms']:.2f} | {spread} |", flush=True)
    grid = whole_grid(args)
    print(f"\nthe whole grid, {args.grid_epochs} epochs: ", end="")
    print(", ".join(f"{way} {taken:.1f} s" for way, taken in grid.items()) + "\n")
    shares, machine = where_the_time_goes(args, bags, y), limit(bags)
    print("| where an epoch goes | share |\n|---|---|")
    print("\n".join(f"| {family} | {100 * share:.0f} % |" for family, share in shares.items()))
    print("\nGFLOP/s: " + ", ".join(f"{name} {value:.0f}" for name, value in machine.items()))
    if args.json:
        summary = {"cases": results, "grid_seconds": grid, "runs": 125, "shares": shares, "gflops": machine}
        args.json.write_text(json.dumps(summary, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("volumes", 300), ("slices", 50), ("dim", 384)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=int, default=2, help="of ours; the plain sample takes one")
    parser.add_argument("--grid-epochs", type=int, default=29, help="of the whole grid, all ways alike")
    parser.add_argument("--sample", type=int, default=5, help="runs of the grid that the plain loop trains")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--heads", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--ways", nargs="*", default=["auto", "bfloat16"], help="train.products to compare")
    parser.add_argument("--beside", type=Path, metavar="TREE", help="working tree of an earlier commit")
    parser.add_argument("--ours", choices=[*CASES, GRID], help="one measurement, as JSON")
    parser.add_argument("--products", help="of that measurement")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
