"""What another arithmetic does to a study: float32 by torch beside whatever `auto` may take.

    python benchmarks/numerics.py pipeline.yaml --folder numerics --repeats 10
    python benchmarks/numerics.py sex.yaml --set extract.backbone.size=small --json sex.json

Extracts the cohort of a pipeline file once by each engine and dtype (a store that is there already is taken),
trains the same heads on the same folds on every store, and says what differs from the heads on float32 by
torch: AUROC (mean over folds), how many pairs of participants of a fold's test part stand in another order,
the largest difference of a logit, which is that of the two classes. Two rows beside them say how much of that
is the training's own: `float32, torch, stored in float32` differs by the rounding of what is stored alone,
`1e-7 beside it` by noise as small as float32's own.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from heads_beside_baseline import options_of
from numpy.typing import NDArray
from pydantic import TypeAdapter

from aggregate.bags.bags import Bags
from aggregate.bags.memory import open_bags
from aggregate.cohort.cohort import Cohort, load_cohort
from aggregate.cohort.folds import make_folds
from aggregate.cohort.people import Fold, people_of
from aggregate.config.section import read_aggregate_section
from aggregate.config.setup import TrainingSetup
from aggregate.heads.centring import sum_bags
from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.statistics.metrics import auroc
from aggregate.train.crossval import run_spec
from aggregate.training.solving.logistic import solve_chosen
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import apply_head, train_stacked
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import StoreReader, open_store
from extract.arithmetic.arithmetic import PREFERRED
from extract.arithmetic.processor import processor_kind
from extract.cli import read_extract_section
from extract.extraction import run_extraction

Floats = NDArray[np.float64]
Logits = list[Floats]
"""Of each fold's test part, that of the second class less that of the first."""

WAYS = {f"{each.compute}, {each.engine}": (each.engine, each.compute, "float16") for each in PREFERRED}
REFERENCE = next(iter(WAYS))
STORED, NOISE = f"{REFERENCE}, stored in float32", f"{REFERENCE}, 1e-7 beside it"
HEADS = ("logistic", "mean", "attention", "gated_attention", "mst")


@dataclass(frozen=True, slots=True)
class Study:
    """A cohort of two classes with its folds."""

    cohort: Cohort
    folds: Sequence[Fold]
    group: NDArray[np.int64]

    def bags(self, store: StoreReader, tokens: str) -> Bags:
        """Of one of the stores, which all have the same volumes."""
        entries = [store.entry(entry.key) for entry in self.cohort.entries]
        return open_bags(store, tokens, entries, self.cohort.bag, None)


def extracted(file: Path, sets: Sequence[str], folder: Path, way: tuple[str, str, str]) -> StoreReader:
    """The cohort's store by one arithmetic."""
    engine, compute, storage = way
    place = folder / f"{engine}-{compute}-{storage}"
    own = (f"cache.store={place}.zarr", f"run.folder={place}", f"extract.engine={engine}")
    own = (*own, f"extract.dtype={compute}", f"extract.storage={storage}")
    pipeline = load_pipeline(file, [*sets, *own])
    outcome = run_extraction(pipeline, read_extract_section(pipeline), progress=False)
    if outcome.slices:
        print(f"{place.name}: {outcome.slices} slices in {outcome.seconds:.0f} s", file=sys.stderr)
    return open_store(outcome.store)


def study_of(file: Path, sets: Sequence[str], store: StoreReader, repeats: int) -> Study:
    """The cohort of a pipeline file, dealt to five folds."""
    pipeline = load_pipeline(file, sets)
    section = read_aggregate_section(pipeline)
    cohort = load_cohort(section.cohort_request(pipeline), store)
    folds = make_folds(cohort, section.folds.model_copy(update={"n": 5, "repeats": repeats}))
    return Study(cohort, folds, people_of(cohort.participants.tolist(), cohort.y).of_bag)


def logits_of(study: Study, bags: Bags, kind: str) -> Logits:
    """Out-of-fold logits of a head, or of mean pooling + logistic regression."""
    if kind == "logistic":
        return logistic(study, bags)
    given = {"kind": kind, **options_of(kind, bags.x.shape[2])}
    head: HeadSpec = TypeAdapter(HeadSpec).validate_python(given)
    setup = TrainingSetup(head.name, "cls", head, LossSpec(), TrainSpec())
    runs = [run_spec(setup, fold, 0, calibrated=False) for fold in study.folds]
    y, weight = torch.tensor(study.cohort.y), torch.tensor(study.cohort.weight, dtype=bags.x.dtype)
    trained = train_stacked(bags, y, weight, 2, runs, group=study.group)
    built, found = head.build(bags.x.shape[2], 2), []
    for run, fold in zip(trained, study.folds, strict=True):
        logits = apply_head(built, [run.state], bags.take(torch.from_numpy(fold.test))).logits[0]
        found.append((logits[:, 1] - logits[:, 0]).double().numpy())
    return found


def logistic(study: Study, bags: Bags) -> Logits:
    """Of mean pooling + logistic regression."""
    means, found = sum_bags(bags.x, bags.keep).mean.numpy(), []
    y, weight = study.cohort.y, study.cohort.weight
    for fold in study.folds:
        rows = fold.inside
        people = people_of([str(name) for name in study.group[rows]], y[rows])
        own = solve_chosen(means[rows], y[rows], weight[rows], people.of_bag, people.y, 2)
        p = own.log_probabilities(means[fold.test])
        found.append(p[:, 1] - p[:, 0])
    return found


def other_order(ours: Logits, theirs: Logits) -> float:
    """Share of pairs of one test part that stand in another order."""
    moved = pairs = 0
    for a, b in zip(ours, theirs, strict=True):
        above = np.triu_indices(len(a), 1)
        one, other = (np.sign(x[:, None] - x)[above] for x in (a, b))
        moved, pairs = moved + int((one != other).sum()), pairs + len(one)
    return moved / pairs


def compared(study: Study, ours: Logits, theirs: Logits) -> dict[str, float]:
    """What differs from the reference's logits."""
    areas = [
        float(np.nanmean([auroc(study.cohort.y[f.test], x) for f, x in zip(study.folds, own, strict=True)]))
        for own in (ours, theirs)
    ]
    whole, other = np.concatenate(ours), np.concatenate(theirs)
    return {
        "auroc": areas[0],
        "other_auroc": areas[1],
        "auroc_difference": areas[1] - areas[0],
        "pairs": other_order(ours, theirs),
        "logit": float(np.abs(other - whole).max()),
        "logit_rms": float(np.sqrt(np.mean((other - whole) ** 2))),
        "logit_sd": float(whole.std()),
    }


def token_errors(ours: StoreReader, theirs: StoreReader, tokens: str) -> dict[str, float]:
    """How far stored tokens of real slices lie apart: as `auto` counts it, and by the standard deviation."""
    cosine, square, n = 1.0, 0.0, 0
    low: Any = np.inf
    high: Any = -np.inf
    values = []
    for entry in ours.entries:
        a, b = (each.read_volume(tokens, entry.key).astype(np.float64) for each in (ours, theirs))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosine = min(cosine, float(((a * b).sum(1) / lengths).min()))
        square, n = square + float(((a - b) ** 2).sum()), n + a.size
        low, high = np.minimum(low, a.min(0)), np.maximum(high, a.max(0))
        values.append(a)
    away, deviation = (square / n) ** 0.5, float(np.concatenate(values).std(axis=0).mean())
    return {"cosine": cosine, "of_range": away / float((high - low).max()), "of_sd": away / deviation}


def noisy(bags: Bags) -> Bags:
    """Tokens beside noise of a share of 1e-7 of each."""
    drawn = torch.randn(bags.x.shape, generator=torch.Generator().manual_seed(0))
    return replace(bags, x=bags.x[:] * (1 + 1e-7 * drawn))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Every way, every head."""
    folder = asked.folder.absolute()
    ways = {
        name: way for name, way in WAYS.items() if not asked.ways or name in asked.ways or name == REFERENCE
    }
    stores = {name: extracted(asked.pipeline, asked.set, folder, way) for name, way in ways.items()}
    if asked.stored:
        stores[STORED] = extracted(asked.pipeline, asked.set, folder, (*WAYS[REFERENCE][:2], "float32"))
    study = study_of(asked.pipeline, asked.set, stores[REFERENCE], asked.repeats)
    bags = {name: study.bags(store, asked.tokens) for name, store in stores.items()}
    bags[NOISE] = noisy(bags[REFERENCE])
    others = [name for name in stores if name != REFERENCE]
    errors = {name: token_errors(stores[REFERENCE], stores[name], asked.tokens) for name in others}
    show_tokens(errors)
    print(
        "\n| head | AUROC | beside | difference | pairs in another order | logit, most | rms, of its sd | s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    heads = {}
    for kind in asked.heads:
        ours = logits_of(study, bags[REFERENCE], kind)
        heads[kind] = {}
        for name in (*others, NOISE):
            start = time.perf_counter()
            found = compared(study, ours, logits_of(study, bags[name], kind))
            heads[kind][name] = found
            show(kind, name, found, time.perf_counter() - start)
    header = stores[REFERENCE].header
    return {
        "pipeline": asked.pipeline.name,
        "backbone": header.fingerprint.backbone.architecture,
        "participants": len(set(study.cohort.participants.tolist())),
        "slices": sum(entry.n_slices for entry in stores[REFERENCE].entries),
        "folds": len(study.folds),
        "processor": processor_kind(),
        "tokens": errors,
        "heads": heads,
    }


def show_tokens(errors: Mapping[str, Mapping[str, float]]) -> None:
    """A row of Markdown for every way."""
    print("| tokens | least cosine | error, of the spread | of the standard deviation |\n|---|---|---|---|")
    for name, one in errors.items():
        print(f"| {name} | {one['cosine']:.7f} | {one['of_range']:.4%} | {one['of_sd']:.3%} |")


def show(kind: str, name: str, one: Mapping[str, float], seconds: float) -> None:
    """A row of Markdown."""
    print(
        f"| {kind} | {one['auroc']:.4f} | {name} | {one['auroc_difference']:+.4f} | {one['pairs']:.2%} | "
        f"{one['logit']:.2g} | {one['logit_rms'] / one['logit_sd']:.2%} | {seconds:.0f} |",
        flush=True,
    )


def main() -> None:
    """Print two tables, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline", type=Path, metavar="PIPELINE")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--folder", type=Path, default=Path("numerics"), help="for the stores")
    parser.add_argument("--tokens", default="cls")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), metavar="WAY", help="by default all")
    parser.add_argument("--stored", action="store_true", help=f"beside them {STORED}")
    parser.add_argument("--heads", nargs="+", default=list(HEADS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    found = measure(asked)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
