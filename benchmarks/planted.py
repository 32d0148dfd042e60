"""When does attention pay? Every head on cohorts with a planted truth, beside logistic regression.

    python benchmarks/planted.py --folder planted --effects focal_wandering --n 300 --dims 192

A cell is an effect x bags to train on x dimension. For each seed (a sign of its own) a cohort is drawn, every
head is trained on it as the section's defaults say, and all are tested on fresh bags with the same sign. The
ceiling is the best of 24 settings of head `attention`, chosen by its mean over seeds on the fresh bags; the
share is how much of (ceiling - logistic) the default reaches. Slices found: AUROC of attention for the
planted slices among those that a patient's bag keeps. Brains are simulated and embedded by an untrained
network in the folder, which takes minutes once, or come from `--store`.
"""

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from planted_cohorts import EFFECTS, Effect, Planted, describe, draw, find_strength, mean_logistic, plant
from planted_statistics import Statistics, fit_bags, simulated_store, store_bags
from pydantic import ValidationError

from aggregate.bags.bags import Bags
from aggregate.baselines.baselines import mean_pool
from aggregate.cohort.folds import validation_part
from aggregate.cohort.people import Fold, FoldSpec
from aggregate.config.setup import TrainingSetup
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.registry import HEADS, HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.statistics.metrics import auroc
from aggregate.train.crossval import run_spec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import TrainedRun, apply_head, train_stacked
from cache_schema.store.reader import open_store

PLAIN_MINI = {"optimiser": "adam_mini", "epsilon": 1e-8}
SETTINGS = [
    {"start": start, "learning_rate": rate, "epochs": epochs, "weight_decay": decay, **PLAIN_MINI}
    for start, rate, epochs, decay in itertools.product(
        ("baseline", "plain"), (1e-3, 3e-3, 1e-2), (50, 200), (0.0, 1e-2)
    )
]
"""What the ceiling is the best of, whatever today's default is."""
WORTH = 0.02
"""Between ceiling and logistic regression: below it no share is given."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One head with one training on all seeds of a cell."""

    auroc: list[float]
    found: list[float]
    """AUROC of attention for the planted slices, NaN where there is nothing to find."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the tables."""

    effect: Effect
    n: int
    dim: int
    strength: float
    logistic: list[float]
    """AUROC on fresh bags, per seed, as everywhere here."""
    heads: dict[str, Tried]
    settings: list[Tried]
    """Of `SETTINGS`; none where no ceiling was asked for."""
    seconds: float


def default_heads() -> dict[str, HeadSpec]:
    """Every built-in head as the section has it without further words."""
    heads: dict[str, HeadSpec] = {}
    for kind in HEADS:
        try:
            spec: HeadSpec = kind()
        except ValidationError:  # a custom head is nothing without its target
            continue
        heads[spec.name] = spec
    return heads


def run_cell(
    statistics: Statistics,
    effect: Effect,
    n: int,
    heads: dict[str, HeadSpec],
    args: argparse.Namespace,
) -> Cell:
    """Train and test everything of one cell."""
    started = time.perf_counter()
    strength = find_strength(statistics, effect, n, args.folder)
    train = [plant(statistics, effect, n, strength, seed) for seed in range(args.seeds)]
    jobs = [(spec, args.train) for spec in heads.values()]
    if args.ceiling:
        wanted = [TrainSpec.model_validate({**setting, "patience": None}) for setting in SETTINGS]
        jobs += [(AttentionSpec(), setting) for setting in wanted]
    trained = train_all(train, jobs)
    tried = [Tried([], []) for _ in jobs]
    logistic = []
    for seed, cohort in enumerate(train):
        fresh = plant(statistics, effect, args.fresh, strength, seed, part=1)
        scores = mean_logistic(mean_pool(cohort.bags), cohort.y, mean_pool(fresh.bags))
        logistic.append(auroc(fresh.y, scores))
        for runs, result in zip(trained, tried, strict=True):
            note(runs[seed], fresh, result)
    return Cell(
        effect,
        n,
        statistics.dim,
        strength,
        logistic,
        dict(zip(heads, tried, strict=False)),
        tried[len(heads) :],
        time.perf_counter() - started,
    )


def train_all(
    cohorts: Sequence[Planted], jobs: Sequence[tuple[HeadSpec, TrainSpec]]
) -> list[list[TrainedRun]]:
    """Train every job on every cohort, on that alone; who stops early has a part of it to look at."""
    n, runs = len(cohorts[0].y), []
    for job, (head, train) in enumerate(jobs):
        for seed, cohort in enumerate(cohorts):
            inside = validation_part(cohort.y, FoldSpec(), np.random.default_rng(seed))
            rows = seed * n + np.arange(n)
            setup = TrainingSetup(f"{head.name} {job}", "cls", head, LossSpec(), train)
            fold = Fold(0, 0, rows[~inside], rows[inside], rows[:0])
            runs.append(run_spec(setup, fold, seed, calibrated=False))
    parts = ("x", "keep", "height_mm")
    bags = Bags(*(torch.cat([getattr(cohort.bags, part) for cohort in cohorts]) for part in parts))
    y = torch.from_numpy(np.concatenate([cohort.y for cohort in cohorts]))
    trained = train_stacked(bags, y, torch.ones(len(y)), 2, runs)
    return [trained[start : start + len(cohorts)] for start in range(0, len(runs), len(cohorts))]


def note(run: TrainedRun, fresh: Planted, result: Tried) -> None:
    """Note what a run makes of fresh bags."""
    output = apply_head(run.spec.head.build(fresh.bags.x.shape[2], 2), [run.state], fresh.bags)
    result.auroc.append(auroc(fresh.y, (output.logits[0, :, 1] - output.logits[0, :, 0]).numpy()))
    result.found.append(slices_found(fresh, output.attention[0].numpy()))


def slices_found(fresh: Planted, attention: np.ndarray[Any, Any]) -> float:
    """Mean over patients of the AUROC of attention for planted slices among kept ones."""
    found = []
    for bag in np.flatnonzero(fresh.y):
        keep = fresh.bags.keep[bag].numpy()
        planted, weight = fresh.planted[bag, keep].astype(np.int64), attention[bag, keep]
        if 0 < planted.sum() < len(planted) and not np.isnan(weight).any():
            found.append(auroc(planted, weight.astype(float)))
    return float(np.mean(found)) if found else float("nan")


def head_row(cell: Cell) -> str:
    """Cell, logistic regression, and every head."""
    heads = " | ".join(f"{np.mean(tried.auroc):.2f}" for tried in cell.heads.values())
    return f"| {cell.effect} | {cell.n} | {cell.dim} | {np.mean(cell.logistic):.2f} | {heads} |"


def ceiling_row(cell: Cell) -> str:
    """Cell, attention beside logistic regression and ceiling, and whether it finds the slices."""
    logistic, attention = np.array(cell.logistic), cell.heads["attention"]
    ahead = np.array(attention.auroc) - logistic
    error = ahead.std(ddof=1) / np.sqrt(len(ahead)) if len(ahead) > 1 else np.nan
    best = int(np.argmax([np.mean(tried.auroc) for tried in cell.settings])) if cell.settings else None
    ceiling = " |  | "
    if best is not None:
        top = float(np.mean(cell.settings[best].auroc))
        room = top - logistic.mean()
        share = f"{100 * ahead.mean() / room:.0f} %" if room > WORTH else ""
        ceiling = f"{top:.3f} | {' '.join(map(str, list(SETTINGS[best].values())[:4]))} | {share}"
    centre = cell.heads.get("centre_gaussian", Tried([], []))
    figures = [
        f"{cell.effect} | {cell.n} | {cell.dim} | {cell.strength:.2f} | {logistic.mean():.3f}",
        f"{np.mean(attention.auroc):.3f} | {ahead.mean():+.3f} ({error:.3f})",
        ceiling,
        " | ".join(
            f"{np.mean(f):.2f}" if f and not np.isnan(f[0]) else "" for f in (attention.found, centre.found)
        ),
    ]
    return f"| {' | '.join(figures)} |"


CEILING_HEAD = (
    "| effect | n | dim | strength | logistic | attention | ahead (s.e.) | ceiling "
    "| its start, rate, epochs, decay | share | slices found | by centre |\n" + "|---" * 12 + "|"
)


def compare(statistics: Statistics, real: Bags) -> None:
    """Print real and drawn cohorts side by side."""
    ours, drawn = describe(real), describe(draw(statistics, len(real), 0))
    print(f"{len(real)} participants, {statistics.dim} numbers a slice\n\n| | real | drawn |\n|---|---|---|")
    print("\n".join(f"| {name} | {value:.2f} | {drawn[name]:.2f} |" for name, value in ours.items()) + "\n")


def main() -> None:
    """Print every cell as it is done, and both tables."""
    args = parse()
    every = default_heads()
    heads = {name: every[name] for name in args.heads or every}
    heads |= {"attention": every["attention"]}
    store = open_store(str(args.store or simulated_store(args.folder)))
    cells = []
    for dim in args.dims:
        real = store_bags(store, args.tokens, dim)
        statistics = fit_bags(real)
        compare(statistics, real)
        for effect, n in itertools.product(args.effects, args.n):
            cells.append(run_cell(statistics, effect, n, heads, args))
            print(f"{CEILING_HEAD}\n{ceiling_row(cells[-1])}\n{cells[-1].seconds:.0f} s", flush=True)
            if args.json:
                settings = {k: str(v) for k, v in vars(args).items()}
                results = {"settings": settings, "cells": [asdict(cell) for cell in cells]}
                args.json.write_text(json.dumps(results, indent=1) + "\n")
    print(
        f"\n{args.seeds} seeds, {args.fresh} fresh bags, {torch.get_num_threads()} threads\n\n{CEILING_HEAD}"
    )
    print("\n".join(map(ceiling_row, cells)))
    print(f"\n| effect | n | dim | logistic | {' | '.join(heads)} |\n{'|---' * (4 + len(heads))}|")
    print("\n".join(map(head_row, cells)))


def _read_train(text: str) -> TrainSpec:
    return TrainSpec.model_validate(yaml.safe_load(text))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("planted"), help="keeps brains and strengths")
    parser.add_argument("--store", type=Path, help="real brains in place of simulated ones")
    parser.add_argument("--tokens", default="cls")
    parser.add_argument("--effects", nargs="+", choices=EFFECTS, default=EFFECTS)
    parser.add_argument("--n", nargs="+", type=int, default=[40, 100, 300])
    parser.add_argument(
        "--dims", nargs="+", type=int, default=[192, 384], help="evenly spaced columns of tokens"
    )
    parser.add_argument("--heads", nargs="+", choices=sorted(default_heads()), help="by default all")
    parser.add_argument("--train", type=_read_train, default=TrainSpec(), help="YAML in place of the default")
    parser.add_argument("--seeds", type=int, default=5, help="training cohorts of a cell")
    parser.add_argument("--fresh", type=int, default=2000)
    parser.add_argument("--no-ceiling", dest="ceiling", action="store_false")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    return args


if __name__ == "__main__":
    main()
