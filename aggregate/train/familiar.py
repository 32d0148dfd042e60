"""What a training leaves in its bundle, so that other volumes can be held against its cohort."""

from collections.abc import Sequence

import numpy as np

from aggregate.bags.bags import Bags
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold
from aggregate.common.arrays import Floats, Ints
from aggregate.predict.acquired import acquired_of
from aggregate.predict.familiar import Familiar, FamiliarCard
from aggregate.predict.familiarity import FEWEST, deal_hands, described, fit_references
from aggregate.predict.shift import score_of
from aggregate.train.crossval import Trained
from cache_schema.format.record import VolumeRecord

BLOCK = 256
"""Bags described at once, since their tokens may lie in the store."""


def seen_bags(folds: Sequence[Fold]) -> Ints:
    """Bags that had a part in any member, ascending."""
    return np.unique(np.concatenate([rows for fold in folds for rows in (fold.train, fold.validation)]))


def records_of(cohort: Cohort, bags: Ints) -> list[VolumeRecord]:
    """Of every volume of some bags."""
    return [cohort.records[place] for place in np.flatnonzero(np.isin(cohort.bag, bags)).tolist()]


def familiar_of(cohort: Cohort, bags: Bags, folds: Sequence[Fold], trained: Trained) -> Familiar:
    """Gather it; of several volumes of a participant the first one, as of a new one's."""
    seen = seen_bags(folds)
    first = _first_bags(cohort, seen)
    names = sorted(first)
    rows = np.array([first[name] for name in names], dtype=np.int64)
    hands = deal_hands(len(names)) if len(names) >= FEWEST else np.zeros(0, dtype=np.int64)
    card = FamiliarCard(
        participants=tuple(names),
        hands=tuple(hands.tolist()),
        acquired=acquired_of(records_of(cohort, seen)),
    )
    references = fit_references(_described(bags, rows), hands) if len(hands) else ()
    return Familiar(card, references, out_of_fold_scores(cohort, trained))


def _first_bags(cohort: Cohort, rows: Ints) -> dict[str, int]:
    """The first of these bags of every participant."""
    first: dict[str, int] = {}
    for row, name in zip(rows.tolist(), cohort.participants[rows].tolist(), strict=True):
        first.setdefault(name, row)
    return first


def _described(bags: Bags, rows: Ints) -> Floats:
    """Some bags as they are compared."""
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    return np.concatenate([described(bags.take(block)) for block in blocks])


def out_of_fold_scores(cohort: Cohort, trained: Trained) -> dict[str, Floats]:
    """By member of the first repeat and seed, ascending: of the participants that it left out."""
    one = trained.runs[0].spec
    found = {}
    for run, output in zip(trained.runs, trained.outputs, strict=True):
        spec = run.spec
        if (spec.repeat, spec.seed) == (one.repeat, one.seed):
            first = set(_first_bags(cohort, output.fold.test).values())
            chosen = np.array([row in first for row in output.fold.test.tolist()], dtype=np.bool_)
            found[f"r{spec.repeat}-f{spec.fold}-s{spec.seed}"] = np.sort(score_of(output.logits[chosen]))
    return found
