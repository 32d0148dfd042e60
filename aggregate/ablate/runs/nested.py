"""Nested selection: inner folds choose a configuration; the outer test part judges that choice.

Inner folds divide the participants of an outer fold's training and validation parts. Nothing here takes
a test row, so the estimate of `nested_selection` is one of the whole procedure, choice included
(Cawley and Talbot 2010).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from aggregate.ablate.runs.trainer import RunKey, renamed
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.folds import deal, validation_part
from aggregate.cohort.people import Fold, FoldSpec, people_of
from aggregate.config.ablate import NESTED, NestedSpec
from aggregate.statistics.evaluate import OutOfFold
from cache_schema.common.errors import SlicecacheError

INNER_STREAM = 2
"""Sets the streams of inner folds apart from those of outer ones."""

OuterKey = tuple[int, int]
"""Repeat and fold."""


def inner_folds(
    cohort: Cohort, outer: Sequence[Fold], spec: NestedSpec, folds: FoldSpec
) -> dict[OuterKey, list[Fold]]:
    """Inner folds of every outer one, numbered on from the outer folds.

    Raises:
        SlicecacheError: If an outer training part has fewer participants of a class than inner folds.
    """
    start = 1 + max(fold.fold for fold in outer)
    return {
        (fold.repeat, fold.fold): _inside(cohort, fold, spec, folds, start + fold.fold * spec.folds)
        for fold in outer
    }


def _inside(cohort: Cohort, outer: Fold, spec: NestedSpec, folds: FoldSpec, number: int) -> list[Fold]:
    rows = outer.inside
    people = people_of(cohort.participants[rows].tolist(), cohort.y[rows])
    fewest = int(np.bincount(people.y, minlength=len(cohort.classes)).min())
    if cohort.kind.classes and fewest < spec.folds:
        raise SlicecacheError(
            f"select: nested needs {spec.folds} participants of each class in every training part, found "
            f"{fewest} in fold {outer.fold}; set select.folds lower or leave select out"
        )
    seed = [folds.seed, outer.repeat, outer.fold, INNER_STREAM]
    hands = deal(people.y, spec.folds, np.random.default_rng(seed))
    found = []
    for inner in range(spec.folds):
        rest, test = np.flatnonzero(hands != inner), np.flatnonzero(hands == inner)
        stream = np.random.default_rng([*seed, inner])
        inside = validation_part(people.y[rest], folds, stream, bool(cohort.kind.classes))
        sides = (rest[~inside], rest[inside], test)
        train, validation, out = (rows[people.bags(side)] for side in sides)
        found.append(Fold(outer.repeat, number + inner, train, validation, out))
    return found


def choose_configurations(
    cohort: Cohort,
    inner: Mapping[OuterKey, Sequence[Fold]],
    candidates: Sequence[str],
    outputs: Mapping[RunKey, OutOfFold],
    seeds: int,
) -> dict[OuterKey, str]:
    """The candidate with the best mean primary metric over inner folds; of equal ones the first named."""
    chosen, primary = {}, cohort.kind.primary
    for outer, folds in inner.items():
        means = []
        for name in candidates:
            runs = [outputs[name, fold.repeat, fold.fold, seed] for fold in folds for seed in range(seeds)]
            found = primary.gain(1.0) * np.array([_judged(cohort, run) for run in runs])
            means.append(np.nan if np.isnan(found).all() else float(np.nanmean(found)))
        chosen[outer] = candidates[0 if np.isnan(means).all() else int(np.nanargmax(means))]
    return chosen


def _judged(cohort: Cohort, output: OutOfFold) -> float:
    scores = output.scores(cohort)
    return cohort.kind.measure(scores.y, scores.logits)[cohort.kind.primary.name]


def nested_outputs(
    chosen: Mapping[OuterKey, str], outer: Sequence[Fold], outputs: Mapping[RunKey, OutOfFold], seeds: int
) -> tuple[OutOfFold, ...]:
    """What the chosen configurations say of the outer test parts."""
    return tuple(
        renamed(outputs[chosen[fold.repeat, fold.fold], fold.repeat, fold.fold, seed], NESTED)
        for fold in outer
        for seed in range(seeds)
    )
