"""A bundle held against an external cohort: scores, measures, curves, and the rows behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aggregate.bags.memory import open_bags
from aggregate.bags.views import with_views
from aggregate.baselines.names import WORDS
from aggregate.cohort.cohort import Cohort
from aggregate.common.softmax import softmax
from aggregate.common.versions import versions
from aggregate.evaluate.classes import classes_outside
from aggregate.evaluate.columns import column_logits
from aggregate.evaluate.curves import Curves, curves_of
from aggregate.evaluate.external import External
from aggregate.evaluate.measure import Judged
from aggregate.evaluate.outside import compare_outside, fixed_metrics, method_of
from aggregate.evaluate.scored import (
    Scored,
    order_of,
    score_by_constant,
    score_by_mean_pooling,
    score_by_members,
)
from aggregate.predict.bundle import Bundle
from aggregate.predict.check import check_store
from aggregate.predict.compare import Batch, Comparison, compare
from aggregate.predict.scoring import Said, say
from aggregate.predict.seen import refuse_seen
from aggregate.statistics.evaluate import people_json
from aggregate.targets.told import CONSTANT
from cache_schema.format.record import VolumeRecord

SET = "external"
"""The `set` column of the predictions."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that `evaluate` says; its folder holds the same numbers as files."""

    metrics: dict[str, Any]
    """As in `metrics.json`."""
    predictions: pd.DataFrame
    """As in `predictions.csv`."""
    curves: Curves
    cohort: Cohort
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def evaluate_bundle(bundle: Bundle, external: External, memory_gib: float | None = None) -> Evaluation:
    """Score an external cohort by the mean of all members, threshold and temperature frozen, and measure.

    Args:
        bundle: Trained elsewhere.
        external: Opened with the bundle's classes.
        memory_gib: What tokens may take of the memory.

    Raises:
        StoreMismatch: If the store holds other embeddings than the bundle reads.
        SlicecacheError: If anybody was in training.
    """
    cohort, card = external.cohort, bundle.card
    check_store(card, external.store.header, external.store.location, external.beside)
    refuse_seen(cohort, card.everybody, card.holders, external.own_ids)
    bags = open_bags(external.store, card.tokens, cohort.entries, cohort.bag, memory_gib, external.beside)
    bags = with_views(
        bags,
        card.views,
        external.store,
        external.beside,
        card.tokens,
        cohort.entries,
        lambda other, own: open_bags(other, card.tokens, own, cohort.bag, memory_gib),
    )
    names = cohort.participants.tolist()
    kept = bundle.harmonised
    people = None if kept is None else kept.known(cohort.table, names, "the external table")
    said = say(bundle, bags, external.store.header, names, strangers=True, people=people)
    scored = {card.members[0].configuration: score_by_members(bundle, cohort, said)}
    if bundle.mean_pooling:
        scored[cohort.kind.bar] = score_by_mean_pooling(bundle, cohort, bags, people)
        if cohort.kind.constant_row:
            scored[CONSTANT] = score_by_constant(bundle, cohort)
    order = order_of(card, cohort)
    columns, missing = column_logits(bundle, cohort)
    scored |= {name: Scored(logits[:, order], logits[:, order], 0.5) for name, logits in columns.items()}
    comparison = compare_external(bundle, cohort, said)
    judged = {name: found.judged(cohort) for name, found in scored.items()}
    notes = (*evaluation_notes(bundle, external), *missing, *comparison.notes)
    warnings = (*cohort.warnings, *comparison.warnings)
    metrics = {
        **evaluation_metrics(judged, external, bundle),
        "familiarity": comparison.summary or None,
        "warnings": list(warnings),
        "notes": list(notes),
    }
    rows = pd.concat(
        [
            pd.concat([prediction_rows(cohort, name, found), comparison.rows], axis=1)
            for name, found in scored.items()
        ]
    )
    curves = curves_of(judged, cohort.kind)
    return Evaluation(metrics, rows.reset_index(drop=True), curves, cohort, notes, warnings)


def compare_external(bundle: Bundle, cohort: Cohort, said: Said) -> Comparison:
    """Hold the cohort's bags against the training cohort."""
    records: list[list[VolumeRecord]] = [[] for _ in range(len(cohort.frame))]
    for bag, record in zip(cohort.bag.tolist(), cohort.records, strict=True):
        records[bag].append(record)
    names = [member.name for member in bundle.card.members]
    people = cohort.participants.tolist()
    return compare(
        bundle.familiar, Batch(people, records, said.familiarity, said.logits, names, strangers=True)
    )


def evaluation_metrics(judged: Mapping[str, Judged], external: External, bundle: Bundle) -> dict[str, Any]:
    """The content of `metrics.json`; the first configuration is the head's, the others are baselines."""
    cohort, store = external.cohort, external.store
    table = {
        name: {metric: value.as_json() for metric, value in fixed_metrics(cohort.kind, found).items()}
        for name, found in judged.items()
    }
    head, *others = judged
    kind, people = cohort.kind, people_json(cohort)
    counts, ordered = people.get("n_per_class"), not kind.calibrates
    classes = classes_outside(judged[head], cohort.classes, counts, ordered) if counts else {}
    return {
        "task": cohort.task,
        "target": cohort.target,
        **kind.facts(),
        "configuration": head,
        "n_participants": cohort.n_participants(),
        **people,
        "n_bags": len(cohort.frame),
        "n_members": len(bundle.card.members),
        "fingerprint": store.header.fingerprint.digest,
        "numerics": store.header.numerics.digest,
        "content_digest": store.content_digest(),
        "metrics": table[head],
        **classes,
        **kind.findings(judged[head].scores.y, judged[head].scores.logits),
        "ci_method": method_of(kind),
        "threshold": judged[head].threshold if cohort.task == "binary" else None,
        "baselines": {name: table[name] for name in others},
        "comparison": {
            name: found
            for name in others
            if (found := compare_outside(kind, judged[head], judged[name], (head, name))) is not None
        },
        "in_training": judged_in_training(bundle),
        **cohort.turnout.as_json(),
        "versions": versions(),
    }


def judged_in_training(bundle: Bundle) -> dict[str, float | None] | None:
    """What the bundle's own cohort gave out-of-fold, as far as its card says it."""
    metrics = bundle.card.training.get("metrics")
    primary = bundle.card.kind.primary.name
    found = metrics.get(primary) if isinstance(metrics, dict) else None
    if not isinstance(found, dict):
        return None
    values = {key: found.get(key) for key in ("value", "ci_low", "ci_high")}
    numbers = all(value is None or isinstance(value, int | float) for value in values.values())
    return values if numbers and values["value"] is not None else None


def prediction_rows(cohort: Cohort, configuration: str, scored: Scored) -> pd.DataFrame:
    """A row per bag, in the columns of a training's; repeat, fold and seed are empty: all members spoke."""
    frame = cohort.frame
    columns: dict[str, Any] = {n: frame[n].to_numpy() for n in ("volume_id", "participant_id", "session_id")}
    nothing = pd.array([pd.NA] * len(frame), dtype="Int64")
    columns |= {"set": SET, "configuration": configuration}
    columns |= dict.fromkeys(("repeat", "fold", "seed"), nothing)
    columns |= cohort.kind.outcome_columns(cohort.values)
    if not cohort.kind.calibrates:
        return pd.DataFrame({**columns, **cohort.kind.columns(scored.logits, scored.threshold, 1.0)})
    columns |= {f"logit_{name}": scored.logits[:, c] for c, name in enumerate(cohort.classes)}
    p = softmax(scored.calibrated)
    columns |= {f"p_{name}": p[:, c] for c, name in enumerate(cohort.classes)}
    return pd.DataFrame({**columns, "threshold": scored.threshold})


def evaluation_notes(bundle: Bundle, external: External) -> tuple[str, ...]:
    """Plain sentences on how it was done."""
    members = len(bundle.card.members)
    frozen = ""
    if external.cohort.kind.calibrates:
        frozen = (
            "; threshold and temperature are the members' own (the threshold their mean), none was chosen "
            "here"
            if bundle.card.positive is not None
            else "; temperatures are the members' own, none was chosen here"
        )
    notes = [
        *external.cohort.notes,
        f"every participant is scored by the mean of all {members} members{frozen}",
    ]
    if not bundle.mean_pooling:
        notes.append(f"the bundle keeps no {WORDS[external.cohort.kind.bar]} to be compared with")
    if not bundle.card.holders:
        notes.append(
            "the bundle is from before it kept what its volumes held: shared participants were looked for by "
            "id only"
        )
    if external.own_ids:
        notes.append("own_ids: participants of the training with the same id were taken for other people")
    return tuple(notes)
