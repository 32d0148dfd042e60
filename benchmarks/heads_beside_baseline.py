"""Every head beside mean pooling + logistic regression, on the same folds: AUROC, and the paired difference.

    python benchmarks/heads_beside_baseline.py --pipeline demo.yaml --tokens cls --repeats 10
    python benchmarks/heads_beside_baseline.py --planted diffuse --n 40 --folder planted --repeats 10

Heads are trained as a study trains them, by default with their own defaults. `--scale` multiplies all tokens
first. Cohorts come from a pipeline file's `aggregate` section, or are drawn with a sign in all slices
(`planted.py`). Intervals are the corrected ones of `docs/statistics.md`.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import TypeAdapter

from aggregate.bags.bags import Bags
from aggregate.bags.memory import open_bags
from aggregate.cohort.cohort import load_cohort
from aggregate.cohort.folds import deal, make_folds
from aggregate.cohort.people import Fold, people_of
from aggregate.common.arrays import Floats, Ints
from aggregate.config.section import read_aggregate_section
from aggregate.config.setup import TrainingSetup
from aggregate.heads.centring import sum_bags
from aggregate.heads.registry import HEADS, HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_t_test
from aggregate.statistics.metrics import auroc
from aggregate.train.crossval import run_spec
from aggregate.training.solving.logistic import solve_chosen
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import apply_head, train_stacked
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

KINDS = [kind.model_fields["kind"].default for kind in HEADS]


@dataclass(frozen=True, slots=True)
class Given:
    """A cohort of two classes with its folds."""

    name: str
    bags: Bags
    y: Ints
    weight: Floats
    group: Ints
    """Participant of every bag."""
    folds: Sequence[Fold]


def from_pipeline(file: Path, tokens: str, repeats: int) -> Given:
    """The cohort of a pipeline file."""
    pipeline = load_pipeline(file)
    section = read_aggregate_section(pipeline)
    store = open_store(pipeline.store())
    cohort = load_cohort(section.cohort_request(pipeline), store)
    bags = open_bags(store, tokens, cohort.entries, cohort.bag, None)
    folds = make_folds(cohort, section.folds.model_copy(update={"n": 5, "repeats": repeats}))
    people = people_of(cohort.participants.tolist(), cohort.y).of_bag
    return Given(f"{file.stem} {tokens}", bags, cohort.y, cohort.weight, people, folds)


def planted(effect: Any, n: int, folder: Path, repeats: int) -> Given:
    """A drawn cohort, with folds and validation parts as a study has them."""
    from planted_cohorts import find_strength, plant
    from planted_statistics import fit_statistics, simulated_store

    statistics = fit_statistics(open_store(str(simulated_store(folder))), "cls", dim=192)
    cohort = plant(statistics, effect, n, find_strength(statistics, effect, n, folder), 0)
    y, folds, nobody = np.asarray(cohort.y), [], np.zeros(0, dtype=np.int64)
    for repeat in range(repeats):
        hands = deal(y, 5, np.random.default_rng([0, repeat]))
        folds += [
            Fold(repeat, fold, np.flatnonzero(hands != fold), nobody, np.flatnonzero(hands == fold))
            for fold in range(5)
        ]
    return Given(f"planted {effect} n={n}", cohort.bags, y, np.ones(n), np.arange(n), folds)


def logistic(given: Given) -> Floats:
    """AUROC of mean pooling + logistic regression (fold,)."""
    means, found = sum_bags(given.bags.x, given.bags.keep).mean.numpy(), []
    for fold in given.folds:
        rows = fold.inside
        people = people_of([str(name) for name in given.group[rows]], given.y[rows])
        own = solve_chosen(means[rows], given.y[rows], given.weight[rows], people.of_bag, people.y, 2)
        p = own.log_probabilities(means[fold.test])
        found.append(auroc(given.y[fold.test], p[:, 1] - p[:, 0]))
    return np.array(found)


def of_head(given: Given, head: HeadSpec, train: TrainSpec) -> Floats:
    """AUROC of a head (fold,)."""
    setup = TrainingSetup(head.name, "cls", head, LossSpec(), train)
    runs = [run_spec(setup, fold, 0, calibrated=False) for fold in given.folds]
    y, weight = torch.tensor(given.y), torch.tensor(given.weight, dtype=given.bags.x.dtype)
    trained = train_stacked(given.bags, y, weight, 2, runs, group=given.group)
    built, found = head.build(given.bags.x.shape[2], 2), []
    for run, fold in zip(trained, given.folds, strict=True):
        logits = apply_head(built, [run.state], given.bags.take(torch.from_numpy(fold.test))).logits[0]
        found.append(auroc(given.y[fold.test], (logits[:, 1] - logits[:, 0]).double().numpy()))
    return np.array(found)


def row(given: Given, kind: str, values: Floats, base: Floats, seconds: float) -> dict[str, Any]:
    """One head beside the baseline."""
    sizes = np.array([[len(fold.inside), len(fold.test)] for fold in given.folds]).T
    found: dict[str, Any] = {"cohort": given.name, "head": kind, "auroc": float(np.nanmean(values))}
    found |= {"logistic": float(np.nanmean(base)), "seconds": seconds}
    found["difference"] = found["auroc"] - found["logistic"]
    if np.ptp(values - base) > 0:
        test = corrected_t_test(values - base, *sizes, overlap=SHARED_PAIRS)
        found |= {"low": test.low, "high": test.high, "p": test.p}
    return found


def line(found: dict[str, Any]) -> str:
    """A row of Markdown."""
    interval = f"[{found['low']:+.2f}, {found['high']:+.2f}]" if "low" in found else ""
    return (
        f"| {found['cohort']} | {found['head']} | {found['auroc']:.3f} | {found['logistic']:.3f} | "
        f"{found['difference']:+.3f} | {interval} | {found['seconds']:.0f} |"
    )


def options_of(kind: str, dim: int) -> dict[str, Any]:
    """A number of attention heads that divides the tokens' numbers, where the default does not."""
    field = next(own for own in HEADS if own.model_fields["kind"].default == kind).model_fields.get("heads")
    if field is None or dim % field.default == 0:
        return {}
    return {"heads": max(n for n in range(1, field.default) if dim % n == 0)}


def main() -> None:
    """Print a row per head, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pipeline", type=Path, metavar="FILE")
    parser.add_argument("--tokens", default="cls")
    parser.add_argument("--planted", metavar="EFFECT")
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=Path("planted"))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--heads", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--train", type=lambda text: TrainSpec.model_validate(yaml.safe_load(text)))
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    if asked.pipeline is not None:
        given = from_pipeline(asked.pipeline, asked.tokens, asked.repeats)
    else:
        given = planted(asked.planted or "diffuse", asked.n, asked.folder, asked.repeats)
    if asked.scale != 1:
        bags = replace(given.bags, x=given.bags.x[:] * asked.scale)
        given = replace(given, name=f"{given.name} x {asked.scale:g}", bags=bags)
    base, rows = logistic(given), []
    print("| cohort | head | AUROC | logistic | difference | 95 % | s |\n|---|---|---|---|---|---|---|")
    for kind in asked.heads:
        head = TypeAdapter(HeadSpec).validate_python(
            {"kind": kind, **options_of(kind, given.bags.x.shape[2])}
        )
        started = time.perf_counter()
        values = of_head(given, head, asked.train or TrainSpec())
        rows.append(row(given, kind, values, base, time.perf_counter() - started))
        print(line(rows[-1]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
