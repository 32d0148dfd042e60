"""A custom head's runs as we train them, beside a plain PyTorch loop over the same runs and batches.

The plain loop takes one run after another with all threads, vectorised over the batch, with
`torch.optim.Adam`; ours times one step of vmap and loop and takes the faster (`stacking: auto`), beside
which both are also given by name. All alternate in one process and the medians are compared.
"""

import argparse
import time
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from plain import train_plain
from torch import Tensor, nn
from train import make_data

from aggregate.heads.custom import CustomHeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.runs import RunSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import train_stacked
from cache_schema.common.custom import give


class Pool(nn.Module):
    """A researcher's attention pool."""

    def __init__(self, dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.project, self.score = nn.Linear(dim, hidden), nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor) -> tuple[Tensor, Tensor]:
        """(bag, slice, dim) -> pooled, attention."""
        scores = self.score(torch.tanh(self.project(x))).squeeze(-1)
        attention = scores.masked_fill(~keep, -torch.inf).softmax(-1)
        return torch.einsum("bs,bsd->bd", attention, x), attention


class Plain(nn.Module):
    """The same with its classifier, as its author would train it."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.pool, self.classifier = Pool(dim), nn.Linear(dim, n_classes)

    def forward(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """(bag, slice, dim) -> logits, embedding."""
        pooled, _ = self.pool(x, keep, x.new_zeros(keep.shape))
        return self.classifier(pooled), pooled


CASES = {"5 folds": (5, 1), "25 runs": (5, 5), "60 runs": (5, 12)}
"""Folds and seeds: no two runs share batches."""


def make_runs(n: int, folds: int, seeds: int, epochs: int, stacking: str) -> list[RunSpec]:
    """One run per fold and seed, plain batches, no early stop, raw tokens as the plain loop has them."""
    parts = np.array_split(np.random.default_rng(0).permutation(n), folds)
    train = TrainSpec(start="plain", epochs=epochs, patience=None, class_balanced=False)
    head = CustomHeadSpec.model_validate({"target": give(Pool), "centre": False, "stacking": stacking})
    rest = [np.concatenate(parts[:fold] + parts[fold + 1 :]) for fold in range(folds)]
    nobody = np.array([], dtype=np.int64)
    return [
        RunSpec("benchmark", 0, fold, seed, head, LossSpec(), train, rest[fold], nobody)
        for fold in range(folds)
        for seed in range(seeds)
    ]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="core-seconds, on a machine that others use too")
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {args.repeats}; ", end=""
    )
    print("core-seconds\n" if args.cpu else "seconds\n")
    print("| runs | slices x dim | auto | took | vmap | loop | plain | auto / plain |")
    print("|---|---|---|---|---|---|---|---|")
    for slices, dim in ((50, 384), (20, 32)):
        bags, y = make_data(args.volumes, slices, dim)
        weight = torch.ones(len(y))
        for name, (folds, seeds) in CASES.items():
            ways: dict[str, partial[Any]] = {}
            for stacking in ("auto", "vmap", "loop"):
                runs = make_runs(args.volumes, folds, seeds, args.epochs, stacking)
                ways[stacking] = partial(train_stacked, bags, y, weight, 2, runs)
            ways["plain"] = partial(train_plain, Plain, bags, y, runs)
            found: dict[str, list[float]] = {way: [] for way in ways}
            took = sorted({str(run.stacking) for run in ways["auto"]()})
            for _ in range(args.repeats):
                for way, train in ways.items():
                    start = clock()
                    train()
                    found[way].append(clock() - start)
            m = {way: median(values) for way, values in found.items()}
            print(
                f"| {name} | {slices} x {dim} | {m['auto']:.2f} | {', '.join(took)} | {m['vmap']:.2f} "
                f"| {m['loop']:.2f} | {m['plain']:.2f} | {m['auto'] / m['plain']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
