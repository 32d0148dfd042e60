"""Who is on which side of a fold: the proof that nobody is on two, and what a reader should know of it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from aggregate.cohort.acquisition import content_key
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold, FoldSpec, people_of
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError


def check_sides(cohort: Cohort, folds: Sequence[Fold]) -> None:
    """Prove that no participant, and no volume under another name, is on two sides of a fold.

    Raises:
        SlicecacheError: Naming the participants.
    """
    participants = cohort.participants
    twins = find_twins(cohort)
    for fold in folds:
        side = np.full(len(cohort.frame), -1, dtype=np.int64)
        for index, rows in enumerate((fold.train, fold.validation, fold.test)):
            if (side[rows] >= 0).any():
                raise SlicecacheError(f"fold {fold.fold} uses a volume twice")
            side[rows] = index
        used = side >= 0
        both = {(str(p), int(s)) for p, s in zip(participants[used], side[used], strict=True)}
        torn = sorted(name for name, n in Counter(name for name, _ in both).items() if n > 1)
        if torn:
            raise SlicecacheError(f"a participant belongs to one side, but {listed(torn)} is on two")
        for a, b in twins:
            if used[a] and used[b] and side[a] != side[b]:
                raise SlicecacheError(
                    f"the volumes of {participants[a]} and {participants[b]} have the same content, so one "
                    "of them would be trained on while the other is tested; leave one out by where"
                )


def find_twins(cohort: Cohort) -> list[tuple[int, int]]:
    """Pairs of bags of different participants that hold the same volume: equal files or equal content."""
    participants = cohort.participants
    first: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for bag, record in zip(cohort.bag.tolist(), cohort.records, strict=True):
        for key in (f"file {record.source.sha256}", f"content {content_key(record)}"):
            other = first.setdefault(key, bag)
            if participants[other] != participants[bag] and (other, bag) not in pairs[-2:]:
                pairs.append((other, bag))
    return pairs


def fold_notes(cohort: Cohort, folds: Sequence[Fold], spec: FoldSpec) -> list[str]:
    """Sentences about folds without a validation part, and about test parts that lack a class."""
    people = people_of(cohort.participants.tolist(), cohort.y)
    notes = []
    bare = [fold for fold in folds if not len(fold.validation)]
    if bare and not cohort.kind.classes:
        notes.append(
            f"fewer than {2 * spec.minimum_per_class} participants in the training part: no validation part"
        )
    elif bare:
        counts = [
            np.bincount(people.y[np.unique(people.of_bag[f.train])], minlength=len(cohort.classes))
            for f in bare
        ]
        fewest = np.min(counts, axis=0)
        shown = ", ".join(f"{name}: {n}" for name, n in zip(cohort.classes, fewest, strict=True))
        notes.append(
            f"fewer than {spec.minimum_per_class} participants of a class in the training part ({shown}): no "
            "validation part, epochs are fixed, threshold 0.5"
        )
    if not cohort.kind.classes:
        return notes
    lacking = sum(len(np.unique(cohort.y[fold.test])) < len(cohort.classes) for fold in folds)
    if lacking:
        notes.append(f"{lacking} of {len(folds)} test parts lack a class: AUROC is not defined in them")
    return notes
