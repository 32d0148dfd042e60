"""What heads say of cohorts in which there is nothing: rejections of every test, by head and design.

    python benchmarks/null_heads.py --cohorts 1000 --heads mean attention mst --json null_heads.json

A cohort is 40 participants with bags of unequal length: an offset of each participant's own, traces of sex
and site, slices that resemble their neighbours; labels go with none of it. Heads train as a study trains them
(default start and epochs), on folds as the software deals them, five folds; beside them
stand mean pooling + logistic regression and "confounds only". A test at 5 % should find something in 5 %.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_up_cohorts import Division, fold_aurocs
from matched_designs import People, divide, logistic, recruit, side
from pydantic import TypeAdapter
from scipy.stats import binom

from aggregate.bags.bags import Bags
from aggregate.cohort.people import Fold
from aggregate.common.arrays import Floats
from aggregate.config.setup import TrainingSetup
from aggregate.heads.centring import sum_bags
from aggregate.heads.registry import HEADS, HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_interval
from aggregate.statistics.evaluate import Measured, compare
from aggregate.train.crossval import run_spec
from aggregate.training.solving.logistic import solve_chosen
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import apply_head, train_stacked

N, SLICES, DIM, FOLDS, REPEATS = 40, 8, 16, 5, 1
DESIGNS = ("unmatched", "sex and site")
AT_ONCE = 40
"""Cohorts whose heads train together, which is quicker and changes nothing."""
OPTIONS: dict[str, dict[str, Any]] = {
    "mst": {"heads": 4},
    "transmil_1d": {"heads": 4, "width": 64},
    "clam_sb": {"features": 128, "hidden": 64},
    "bigru": {"state": 32},
}
"""Narrow ones: the tokens have 16 numbers here, and a head of 512 takes a quarter of an hour per hundred."""


@dataclass(frozen=True, slots=True)
class Empty:
    """One cohort in which there is nothing."""

    people: People
    division: Division
    bags: Bags


def draw(design: str, seed: int) -> Empty:
    """A cohort of its own for every seed."""
    generator = np.random.default_rng([seed, N, 7])
    people = recruit(design, N, generator)
    whole = divide(people, "matched", seed)
    keep = np.arange(SLICES) < generator.integers(SLICES // 2, SLICES + 1, N)[:, None]
    own = generator.standard_normal((N, 1, DIM))
    own[:, 0, :3] += np.stack([people.sex, people.site == 0, people.site == 1], axis=1)
    noise = generator.standard_normal((N, SLICES + 1, DIM))
    x = (own + noise[:, 1:] + noise[:, :-1] + 3) * keep[:, :, None]
    height = np.tile(4.0 * np.arange(SLICES), (N, 1)) * keep
    bags = Bags(*(torch.from_numpy(part) for part in (x.astype(np.float32), keep, height.astype(np.float32))))
    return Empty(people, Division(people.y, whole.hands[:REPEATS]), bags)


def aurocs_of(head: HeadSpec, cohorts: Sequence[Empty]) -> list[Floats]:
    """AUROC (repeat x fold,) of a head, by cohort."""
    runs = []
    for place, cohort in enumerate(cohorts):
        for repeat, fold in np.ndindex(REPEATS, FOLDS):
            hand = cohort.division.hands[repeat]
            rows, test = (place * N + np.flatnonzero(side) for side in (hand != fold, hand == fold))
            setup = TrainingSetup(head.name, "cls", head, LossSpec(), TrainSpec())
            own = Fold(repeat, place * FOLDS + fold, rows, rows[:0], test)
            runs.append((own, run_spec(setup, own, 0, calibrated=False)))
    parts = ("x", "keep", "height_mm")
    bags = Bags(*(torch.cat([getattr(cohort.bags, part) for cohort in cohorts]) for part in parts))
    y = torch.from_numpy(np.concatenate([cohort.people.y for cohort in cohorts]))
    trained = train_stacked(bags, y, torch.ones(len(y)), 2, [run for _, run in runs])
    built, scores = head.build(DIM, 2), np.zeros((len(cohorts), REPEATS, N))
    for (fold, _), run in zip(runs, trained, strict=True):
        logits = apply_head(built, [run.state], bags.take(torch.from_numpy(fold.test))).logits[0]
        scores[fold.fold // FOLDS, fold.repeat, fold.test % N] = (logits[:, 1] - logits[:, 0]).numpy()
    return [fold_aurocs(own, cohort.division).ravel() for own, cohort in zip(scores, cohorts, strict=True)]


def beside(cohort: Empty) -> dict[str, Floats]:
    """AUROC (repeat x fold,) of both baselines."""
    # As heads have it to the last bit: their start is this solution, and is solved once for all.
    x, y = sum_bags(cohort.bags.x, cohort.bags.keep).mean.numpy(), cohort.people.y
    scores = np.zeros((REPEATS, N))
    for repeat, fold in np.ndindex(REPEATS, FOLDS):
        hand = cohort.division.hands[repeat]
        rows, test = np.flatnonzero(hand != fold), np.flatnonzero(hand == fold)
        found = solve_chosen(x[rows], y[rows], np.ones(len(rows)), np.arange(len(rows)), y[rows], 2)
        p = found.log_probabilities(x[test])
        scores[repeat, test] = p[:, 1] - p[:, 0]
    people = cohort.people
    columns = [np.eye(2)[people.sex], np.eye(3)[people.site], people.age[:, None]]
    every = logistic(np.concatenate(columns, axis=1), y, cohort.division.outside).reshape(REPEATS, FOLDS, -1)
    confounds = np.take_along_axis(every, cohort.division.hands[:, None], axis=1)[:, 0]
    found_ = {"mean_pool_logistic": scores, "confounds_only": confounds}
    return {name: fold_aurocs(own, cohort.division).ravel() for name, own in found_.items()}


def said(cohort: Empty, values: Floats, others: Mapping[str, Floats]) -> dict[str, float]:
    """What every test says of a head on one cohort: -1 below, 1 above, 0 nothing."""
    sizes = cohort.division.n_train, cohort.division.n_test
    own = corrected_interval(values, *sizes, bounds=(0.0, 1.0), overlap=SHARED_PAIRS)
    found: dict[str, float] = {"auroc": float(values.mean())}
    found["0.5"] = int(own.low > 0.5) - int(own.high < 0.5)
    measured = Measured("head", {"auroc": values}, *sizes)
    for name, other in others.items():
        compared = compare(measured, Measured(name, {"auroc": other}, *sizes)) or {}
        found[name] = side(compared.get("difference"), compared.get("p"))
    return found


def measure(heads: Sequence[HeadSpec], design: str, n_cohorts: int) -> list[dict[str, Any]]:
    """Rejections of every head over empty cohorts of one design."""
    every: list[list[dict[str, float]]] = [[] for _ in heads]
    seconds = np.zeros(len(heads))
    for first in range(0, n_cohorts, AT_ONCE):
        cohorts = [draw(design, seed) for seed in range(first, min(first + AT_ONCE, n_cohorts))]
        others = [beside(cohort) for cohort in cohorts]
        for place, head in enumerate(heads):
            started = time.perf_counter()
            found = zip(cohorts, aurocs_of(head, cohorts), others, strict=True)
            every[place] += [said(*own) for own in found]
            seconds[place] += time.perf_counter() - started
    return [
        rejections(head, design, own) | {"seconds": float(spent)}
        for head, own, spent in zip(heads, every, seconds, strict=True)
    ]


def rejections(head: HeadSpec, design: str, every: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """How often each test says something: (below, above)."""
    row: dict[str, Any] = {"head": head.name, "design": design, "cohorts": len(every)}
    row["auroc"] = float(np.mean([own["auroc"] for own in every]))
    for test in ("0.5", "mean_pool_logistic", "confounds_only"):
        own = np.array([found[test] for found in every])
        row[test] = [float(np.mean(own < 0)), float(np.mean(own > 0))]
    return row


def line(row: Mapping[str, Any]) -> str:
    """A row of Markdown: mean AUROC, then rejections in all (below + above)."""
    cells = [row["head"], row["design"], str(row["cohorts"]), f"{row['auroc']:.3f}"]
    for test in ("0.5", "mean_pool_logistic", "confounds_only"):
        below, above = row[test]
        cells.append(f"{below + above:.3f} ({below:.3f} + {above:.3f})")
    return f"| {' | '.join(cells)} | {row['seconds']:.0f} |"


def main() -> None:
    """Print a row per head and design, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--designs", nargs="+", default=DESIGNS, choices=DESIGNS)
    kinds = [kind.model_fields["kind"].default for kind in HEADS]
    parser.add_argument("--heads", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    low, high = (binom.ppf(q, given.cohorts, 0.05) / given.cohorts for q in (0.005, 0.995))
    print(f"99 % band of a rate of 0.05 over {given.cohorts} cohorts: {low:.3f} to {high:.3f}\n")
    print("| head | design | cohorts | AUROC | off 0.5 | off logistic regression | off confounds | s |")
    print(f"|{'---|' * 8}", flush=True)
    rows = []
    read = TypeAdapter(HeadSpec).validate_python
    heads = [read({"kind": kind, **OPTIONS.get(kind, {})}) for kind in given.heads]
    for design in given.designs:
        for row in measure(heads, design, given.cohorts):
            rows.append(row)
            print(line(row), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
