"""What the results of a training consist of, each put together from its parts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate.bags.bags import Bags
from aggregate.bags.beside import NOTHING, Beside
from aggregate.bags.views import NO_VIEWS, TestViewsSpec
from aggregate.baselines.baselines import Baseline
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.folds import matched_notes
from aggregate.cohort.people import Fold, FoldSpec
from aggregate.cohort.sides import fold_notes
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.cohort.task import TargetBase
from aggregate.common.pictures import shown_preview
from aggregate.common.versions import versions
from aggregate.config.setup import TrainingSetup
from aggregate.predict.bundle import BesideCard, Bundle, BundleCard, member_of
from aggregate.predict.seen import volumes_of
from aggregate.statistics.classes.out_of_fold import classes_out_of_fold
from aggregate.statistics.evaluate import (
    Measured,
    OutOfFold,
    ci_method,
    compare,
    intervals,
    mean_scores,
    people_json,
    pooled_auroc,
)
from aggregate.targets.base import goal_of_cohort
from aggregate.train.crossval import Trained
from aggregate.train.familiar import familiar_of, records_of, seen_bags
from aggregate.train.groups import groups_json
from cache_schema.store.reader import StoreReader
from cache_schema.store.wanted import making_of

SHOWN_PREVIEWS = 6
"""Volumes whose slices the report shows."""


def baseline_outputs(baseline: Baseline, folds: Sequence[Fold]) -> tuple[OutOfFold, ...]:
    """A baseline's predictions in the form of a configuration's."""
    return tuple(
        OutOfFold(baseline.name, fold, 0, logits) for fold, logits in zip(folds, baseline.logits, strict=True)
    )


def all_outputs(
    trained: Trained, baselines: Sequence[Baseline], folds: Sequence[Fold]
) -> dict[str, Sequence[OutOfFold]]:
    """What is measured, by name; the head's comes first."""
    found: dict[str, Sequence[OutOfFold]] = {trained.outputs[0].configuration: trained.outputs}
    return found | {b.name: baseline_outputs(b, folds) for b in baselines if b.logits}


def metrics_json(
    seeds: int,
    cohort: Cohort,
    store: StoreReader,
    outputs: dict[str, Sequence[OutOfFold]],
    measured: dict[str, Measured],
    beside: Beside = NOTHING,
) -> dict[str, Any]:
    """The content of `metrics.json`; the first configuration is the head's, the others are baselines."""
    others_of = {name: other.header.fingerprint.digest for name, other in beside.items()}
    table = {
        name: {metric: found.as_json() for metric, found in intervals(cohort, out, measured[name]).items()}
        for name, out in outputs.items()
    }
    head, *others = table
    judged = dict(table[head])
    if cohort.kind.primary.name == "auroc":
        pooled = pooled_auroc(cohort, outputs[head])
        judged["auroc_pooled"] = {"value": pooled, "ci_low": None, "ci_high": None}
    folds, said = [output.fold for output in outputs[head]], mean_scores(cohort, outputs[head])
    return {
        "task": cohort.task,
        "target": cohort.target,
        **cohort.kind.facts(),
        "configuration": head,
        "n_participants": cohort.n_participants(),
        **people_json(cohort),
        "n_bags": len(cohort.frame),
        "n_folds": len({fold.fold for fold in folds}),
        "n_repeats": len({fold.repeat for fold in folds}),
        "n_seeds": seeds,
        "fingerprint": store.header.fingerprint.digest,
        **({"beside": others_of} if beside else {}),
        "numerics": store.header.numerics.digest,
        "content_digest": store.content_digest(),
        "metrics": judged,
        **cohort.kind.findings(said.y, said.logits),
        "ci_method": ci_method(measured[head]),
        **classes_out_of_fold(cohort, outputs[head]),
        "baselines": {name: table[name] for name in others},
        "comparison": {
            name: found for name in others if (found := compare(measured[head], measured[name])) is not None
        },
        **({"groups": groups} if (groups := groups_json(cohort, outputs)) else {}),
        **cohort.turnout.as_json(),
        "versions": versions(),
    }


def run_notes(
    spec: FoldSpec, cohort: Cohort, folds: Sequence[Fold], baselines: Sequence[Baseline]
) -> list[str]:
    """Plain sentences on how it was done and what was not."""
    notes = [*cohort.notes, *fold_notes(cohort, folds, spec), *matched_notes(cohort, folds, spec)]
    for baseline in baselines:
        notes += [f"{baseline.name}: {note}" for note in baseline.notes]
        if baseline.reason:
            notes.append(f"{baseline.name} was left out: {baseline.reason}")
    if cohort.kind.primary.name == "auroc":
        notes.append(
            "auroc is the mean of AUROC within folds; auroc_pooled mixes folds and is biased by their offsets"
        )
    return notes


def previews(store: StoreReader, cohort: Cohort) -> list[tuple[str, bytes]]:
    """Mosaics of volumes spread evenly over the cohort, captioned with key and label."""
    chosen = np.unique(np.linspace(0, len(cohort.entries) - 1, SHOWN_PREVIEWS).round().astype(int))
    found = []
    for index in chosen:
        key = cohort.entries[index].key
        png = shown_preview(store, key)
        if png is not None:
            bag = int(cohort.bag[index])
            found.append((f"{key} ({cohort.kind.shown(cohort.values[[bag]])[0]})", png))
    return found


def attention_frame(cohort: Cohort, bags: Bags, trained: Trained) -> pd.DataFrame:
    """Out-of-fold attention over height, one row per kept slice; of a bag of several volumes with its own."""
    bag, place = np.nonzero(np.isfinite(trained.attention))
    volumes = np.repeat(
        [entry.key.volume_id for entry in cohort.entries], [entry.n_slices for entry in cohort.entries]
    )
    first = np.concatenate([[0], np.cumsum(bags.keep.sum(dim=1).numpy())])
    return pd.DataFrame(
        {
            "height_mm": bags.height_mm.numpy()[bag, place],
            "attention": trained.attention[bag, place],
            "label": np.array(cohort.classes)[cohort.y[bag]],
            "participant_id": cohort.participants[bag],
            "volume_id": volumes[first[bag] + place],
        }
    )


def make_bundle(
    setup: TrainingSetup,
    cohort: Cohort,
    store: StoreReader,
    folds: Sequence[Fold],
    trained: Trained,
    bags: Bags,
    training: dict[str, Any],
    beside: Beside = NOTHING,
    baselines: Sequence[Baseline] = (),
    views: TestViewsSpec = NO_VIEWS,
) -> Bundle:
    """Every fold's member with the participants that had a part in it; `training` is the card's summary."""
    by_fold = [fold for fold in folds for _ in range(setup.seeds)]
    members = [
        member_of(
            run,
            cohort.participants[fold.inside].tolist(),
            output.calibration.threshold,
            output.calibration.temperature,
        )
        for run, fold, output in zip(trained.runs, by_fold, trained.outputs, strict=True)
    ]
    familiar = familiar_of(cohort, bags, folds, trained)
    solutions = tuple(one for baseline in baselines if not baseline.designs for one in baseline.solutions)
    columns = {baseline.name: baseline for baseline in baselines if baseline.designs}
    n_outputs = goal_of_cohort(cohort, setup.loss).n_outputs
    card = BundleCard(
        fingerprint=store.header.fingerprint,
        numerics=store.header.numerics,
        making=making_of(store.header),
        tokens=setup.tokens,
        dim=bags.x.shape[2],
        classes=cohort.kind.classes,
        positive=cohort.kind.facts().get("positive"),
        beside={
            name: BesideCard(fingerprint=other.header.fingerprint, numerics=other.header.numerics)
            for name, other in beside.items()
        },
        views=views,
        select=cohort.select,
        combine=cohort.combine,
        head=setup.head,
        task=cohort.kind.key,
        outputs=None if n_outputs == len(cohort.kind.classes) else n_outputs,
        members=tuple(members),
        mean_pooling=len(solutions),
        columns={name: baseline.designs for name, baseline in columns.items()},
        volumes=volumes_of(records_of(cohort, seen_bags(folds))),
        familiar=familiar.card,
        training=training,
    )
    models = {name: baseline.solutions for name, baseline in columns.items()}
    return Bundle(card, tuple(run.state for run in trained.runs), familiar, solutions, models)


def training_summary_of(
    setup: TrainingSetup,
    target: TargetBase,
    spec: FoldSpec,
    trained: Trained,
    metrics: dict[str, Any],
    join: JoinSpec,
) -> dict[str, Any]:
    """What a bundle's card says of its training."""
    return {
        "configuration": setup.name,
        "target": target.model_dump(mode="json"),
        "loss": setup.loss.model_dump(mode="json"),
        "train": setup.train.model_dump(mode="json"),
        "folds": spec.model_dump(mode="json"),
        **({"join": said} if (said := join.in_names()) else {}),
        **_stacking(trained),
        "metrics": metrics["metrics"],
        "content_digest": metrics["content_digest"],
    }


def _stacking(trained: Trained) -> dict[str, Any]:
    """How a custom head's runs were computed, by number of runs; nothing for the others."""
    found = Counter(run.stacking for run in trained.runs if run.stacking is not None)
    return {"stacking": dict(found)} if found else {}
