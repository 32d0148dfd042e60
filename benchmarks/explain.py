"""Does `explain` find planted slices, and does it keep silent where there is nothing?

    python benchmarks/explain.py --folder planted --choose     # which method, on a seed that no table uses
    python benchmarks/explain.py --folder planted --json explain.json

Planted: patients carry a sign of their cohort's direction in 1, 3 or 9 neighbouring slices, which begin
anywhere in the kept range, as strong in each as `--strengths` says.
Heads are trained in 5 folds with the section's defaults, and every participant is mapped by the member that
did not see them. Found: AUROC of a map for the planted slices among a patient's kept ones, the mean over
patients and cohorts. Null: cohorts without effect, in which every map should be titled "not interpretable".
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from planted import slices_found
from planted_cohorts import Planted, draw, draw_shifts
from planted_statistics import Statistics, fit_bags, simulated_store, store_bags
from sklearn.model_selection import StratifiedKFold

from aggregate.cohort.people import Fold
from aggregate.common.arrays import Ints
from aggregate.config.setup import TrainingSetup
from aggregate.explain.controls import centre_map
from aggregate.explain.explain import Explained, explain_bags
from aggregate.explain.looking import Asked
from aggregate.explain.methods.registry import USUAL_METHODS
from aggregate.explain.tables import mean_maps
from aggregate.explain.verdict import LEVEL
from aggregate.heads.attention import AttentionSpec
from aggregate.losses.registry import LossSpec
from aggregate.predict.bundle import Bundle, BundleCard, member_of
from aggregate.statistics.metrics import auroc
from aggregate.targets.question import class_questions
from aggregate.train.crossval import run_spec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import apply_head, train_stacked
from cache_schema.format.header import Header
from cache_schema.store.reader import open_store

STRENGTHS = {1: 24.0, 3: 15.0, 9: 9.0}
"""Of a sign, by its slices: how many standard deviations of slices' residuals it moves a token by."""
CLASSES = ("control", "patient")
CHOOSING = 90_000
"""The seed that methods were compared on before one was named; no table uses it."""


@dataclass
class Cell:
    """Cohorts of one size."""

    size: int
    auroc: list[float] = field(default_factory=list)
    """Out of fold, per cohort."""
    found: dict[str, list[float]] = field(default_factory=dict)
    """AUROC for planted slices by map, per cohort."""
    believed: dict[str, list[bool]] = field(default_factory=dict)
    """Whether each method beat its controls, per cohort."""
    smallest_p: dict[str, list[float]] = field(default_factory=dict)
    """The largest of a method's three p, before Holm, per cohort."""
    seconds: float = 0.0


def plant(statistics: Statistics, n: int, size: int, strength: float, seed: int) -> Planted:
    """Draw a cohort; patients' signs begin anywhere in the kept range."""
    bags = draw(statistics, n, (seed, 0, 0))
    keep = bags.keep.numpy()
    generator = np.random.default_rng((seed, 3))
    y = generator.permutation(np.arange(n) % 2)
    start = generator.integers(0, keep.sum(axis=1) - max(size, 1) + 1)
    from_start = np.arange(keep.shape[1]) - start[:, None]
    planted = (from_start >= 0) & (from_start < size) & (y == 1)[:, None]
    if size:
        shift = strength * draw_shifts(statistics, seed)[0]
        bags.x.numpy()[planted] += shift.astype(np.float32)
    return Planted(bags, y, planted)


def train(cohort: Planted, header: Header, seed: int, folds: int) -> tuple[Bundle, float]:
    """A bundle of the folds' members, and its AUROC out of fold."""
    y, setup = cohort.y, TrainingSetup("attention", "cls", AttentionSpec(), LossSpec(), TrainSpec())
    dealt = StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y)
    parts = [Fold(0, k, inside, inside[:0], test) for k, (inside, test) in enumerate(dealt)]
    specs = [run_spec(setup, fold, seed, calibrated=False) for fold in parts]
    runs = train_stacked(cohort.bags, torch.from_numpy(y), torch.ones(len(y)), 2, specs)
    people = np.array(people_of(y))
    dim = int(cohort.bags.x.shape[2])
    card = BundleCard(
        fingerprint=header.fingerprint,
        numerics=header.numerics,
        tokens="cls",
        dim=dim,
        classes=CLASSES,
        positive=CLASSES[1],
        head=setup.head,
        members=tuple(member_of(run, people[f.train].tolist()) for run, f in zip(runs, parts, strict=True)),
    )
    head, within = setup.head.build(dim, 2), []
    for run, fold in zip(runs, parts, strict=True):
        logits = apply_head(head, [run.state], cohort.bags.take(fold.test)).logits[0].numpy()
        within.append(auroc(y[fold.test], logits[:, 1] - logits[:, 0]))
    return Bundle(card, tuple(run.state for run in runs)), float(np.mean(within))


def people_of(y: Ints) -> list[str]:
    """An id for every bag."""
    return [f"p{number:04d}" for number in range(len(y))]


def explained(cohort: Planted, bundle: Bundle, seed: int) -> Explained:
    """What `explain` says by default."""
    questions = class_questions(CLASSES, cohort.y.astype(np.float64))
    return explain_bags(Asked(bundle, cohort.bags, people_of(cohort.y), questions, USUAL_METHODS, seed))


def note(cell: Cell, cohort: Planted, found: Explained, score: float) -> None:
    """Note one cohort."""
    cell.auroc.append(score)
    for name, judged in found.judgements.items():
        cell.believed.setdefault(name, []).append(judged.interpretable)
        cell.smallest_p.setdefault(name, []).append(judged.p)
    if not cell.size:
        return
    maps = {name: mean_maps(found, name) for name in found.judgements}
    for name, own in maps.items():
        stacked = np.stack([own[bag][0] for bag in range(len(cohort.y))])
        cell.found.setdefault(name, []).append(slices_found(cohort, stacked))
    cell.found.setdefault("centre_gaussian", []).append(slices_found(cohort, centre_map(cohort.bags)))


def run_cell(
    statistics: Statistics, header: Header, size: int, seeds: Sequence[int], args: argparse.Namespace
) -> Cell:
    """All cohorts of one size."""
    cell, started = Cell(size), time.process_time()
    n = args.n if size else args.null_n
    for seed in seeds:
        cohort = plant(statistics, n, size, args.strengths.get(size, 0.0), seed)
        bundle, score = train(cohort, header, seed, args.folds)
        note(cell, cohort, explained(cohort, bundle, seed), score)
        if args.json:  # what is done counts, should the rest be stopped
            args.json.with_suffix(f".{size}.json").write_text(json.dumps(asdict(cell)) + "\n")
    cell.seconds = time.process_time() - started
    return cell


def planted_table(cells: Sequence[Cell]) -> str:
    """A row per size: classification, and every map's AUROC for the planted slices with its verdicts."""
    names = list(cells[0].found)
    lines = [
        f"| slices | cohorts | AUROC out of fold | {' | '.join(names)} |",
        "|---" * (3 + len(names)) + "|",
    ]
    for cell in cells:
        shown = [
            f"{np.mean(cell.found[name]):.3f} ({np.min(cell.found[name]):.2f})"
            + (f", {sum(cell.believed[name])} believed" if name in cell.believed else "")
            for name in names
        ]
        lines.append(f"| {cell.size} | {len(cell.auroc)} | {np.mean(cell.auroc):.3f} | {' | '.join(shown)} |")
    return "\n".join(lines)


def null_lines(cell: Cell) -> str:
    """How often anything was believed of cohorts without effect, and how often each single test rejects."""
    n = len(cell.auroc)
    anything = int(np.sum(np.any(list(cell.believed.values()), axis=0)))
    lines = [
        f"{n} cohorts without effect, AUROC {np.mean(cell.auroc):.3f}: not interpretable throughout in "
        f"{n - anything}, the first method in {n - sum(next(iter(cell.believed.values())))}",
        f"share with p < {LEVEL} before Holm: "
        + ", ".join(f"{name} {np.mean(np.array(p) < LEVEL):.3f}" for name, p in cell.smallest_p.items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    args = parse()
    store = open_store(str(args.store or simulated_store(args.folder)))
    statistics = fit_bags(store_bags(store, args.tokens, args.dim))
    first = CHOOSING if args.choose else args.seed
    cells = []
    for size in args.strengths:
        seeds = range(first, first + (1 if args.choose else args.cohorts))
        cells.append(run_cell(statistics, store.header, size, seeds, args))
        print(f"{planted_table(cells[-1:])}\n{cells[-1].seconds:.0f} s of processor", flush=True)
    null = None
    if args.nulls and not args.choose:
        null = run_cell(statistics, store.header, 0, range(first + 1000, first + 1000 + args.nulls), args)
        print(f"{null_lines(null)}\n{null.seconds:.0f} s of processor", flush=True)
    if cells:
        print(f"\n{planted_table(cells)}")
    if args.json:
        settings = {name: str(value) for name, value in vars(args).items()}
        whole = [asdict(cell) for cell in (*cells, *([null] if null else []))]
        args.json.write_text(json.dumps({"settings": settings, "cells": whole}, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("planted"), help="keeps simulated brains")
    parser.add_argument("--store", type=Path, help="real brains in place of simulated ones")
    parser.add_argument("--tokens", default="cls")
    parser.add_argument("--dim", type=int, default=64, help="evenly spaced columns of tokens")
    parser.add_argument("--strengths", type=json.loads, default=STRENGTHS, metavar="JSON", help="by size")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--cohorts", type=int, default=5, help="of each size")
    parser.add_argument("--nulls", type=int, default=100, help="cohorts without effect")
    parser.add_argument("--null-n", type=int, default=60)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the first cohort")
    parser.add_argument("--choose", action="store_true", help="one cohort of each size on the choosing seed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    args.strengths = {int(size): float(strength) for size, strength in args.strengths.items()}
    return args


if __name__ == "__main__":
    main()
