"""Who trains and who tests: folds that keep a participant, and a volume's copies, on one side.

Folds are dealt over participants like cards, class after class without starting anew, so that fold
sizes and the count of each class differ by at most one; within a class by what is matched between the
classes (`table/matched.py`). The validation part is cut from the training
part in the same way; nothing of the test part is ever looked at.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold, FoldSpec, People, people_of
from aggregate.cohort.sides import check_sides
from aggregate.cohort.table.columns import SYNONYMS, find_column, same_meaning
from aggregate.cohort.table.matched import Matched, find_matched
from aggregate.common.arrays import Ints
from aggregate.common.table_values import listed, natural, nearest, value_name
from cache_schema.common.errors import ConfigError, SlicecacheError

MATCHED = "matched between the classes, so folds are dealt by it too: "
"""Begins the note on what they are dealt by."""
PER_FOLD = 2
"""Participants that a fold of a target without classes tests at least."""


def make_folds(cohort: Cohort, spec: FoldSpec, leave_group_out: str | None = None) -> list[Fold]:
    """Divide the cohort: by its given split, by groups, or into repeated stratified folds.

    Args:
        cohort: Carries the given split's sides, if there is one.
        spec: Number of folds, repeats, seed, share of validation.
        leave_group_out: Column whose values are left out one by one.

    Raises:
        SlicecacheError: If there are too few participants, or a participant or the content of a volume
            would be on two sides.
    """
    people = replace(people_of(cohort.participants.tolist(), cohort.y), labelled=bool(cohort.kind.classes))
    if cohort.sides is not None:
        folds = [_given(cohort, cohort.sides, people, spec)]
    elif leave_group_out is not None:
        folds = _groups_out(cohort, people, spec, leave_group_out)
    else:
        folds = _stratified(cohort, people, spec)
    check_sides(cohort, folds)
    for fold in folds:
        inside, name = np.concatenate([fold.train, fold.validation]), fold.name or f"fold {fold.fold + 1}"
        cohort.kind.check_fold(cohort.values[inside], cohort.values[fold.test], name)
    return folds


def deal(y: Ints, n: int, generator: np.random.Generator, matched: Matched | None = None) -> Ints:
    """Deal participants to `n` hands, stratified: the hand of each (participant,).

    Args:
        y: Class index (participant,).
        n: Hands.
        generator: Draws the order.
        matched: Traits to be dealt evenly inside each class.
    """
    strata = y if matched is None else y * (1 + matched.cells.max()) + matched.cells
    order = np.concatenate([generator.permutation(np.flatnonzero(strata == c)) for c in np.unique(strata)])
    if matched is not None and matched.number is not None:
        # Neighbours in the number go to different hands: who of them to which is drawn.
        order = order[np.lexsort([matched.number[order], strata[order]])]
        rounds = np.arange(len(y)) // n
        order = order[np.lexsort([generator.random(len(y)), rounds, strata[order]])]
    hands = np.empty(len(y), dtype=np.int64)
    # Which hand gets the odd ones is drawn too, or the first folds would always be the large ones.
    hands[order] = generator.permutation(n)[np.arange(len(y)) % n]
    return hands


def matched_traits(cohort: Cohort, spec: FoldSpec) -> Matched:
    """What is matched between the classes of a cohort, of what its folds are to be dealt by.

    Raises:
        ConfigError: If a column that the user names does not exist.
    """
    known = list(map(str, cohort.table.columns))
    for name in spec.matched or ():
        if name not in known:
            raise ConfigError(f"folds.matched: the table has no column {name!r}{nearest(name, known)}")
    usual = (find_column(known, group[0]) for group in SYNONYMS)
    names = [name for name in usual if name] if spec.matched is None else list(dict.fromkeys(spec.matched))
    people = people_of(cohort.participants.tolist(), cohort.y)
    if not cohort.kind.classes:
        return _by_outcome(cohort, people)
    first = np.unique(people.of_bag, return_index=True)[1]
    traits = {name: cohort.table[name].iloc[first] for name in names if not same_meaning(name, cohort.target)}
    return find_matched(traits, people.y)


def _by_outcome(cohort: Cohort, people: People) -> Matched:
    """Nothing is matched between strata; inside one, neighbours in the outcome go to different hands."""
    own = np.bincount(people.of_bag, cohort.values[:, 0]) / np.bincount(people.of_bag)
    return Matched((), np.zeros(len(people.names), dtype=np.int64), np.asarray(own, dtype=np.float64))


def matched_notes(cohort: Cohort, folds: Sequence[Fold], spec: FoldSpec) -> list[str]:
    """A sentence on folds that are dealt by what is matched."""
    if cohort.sides is not None or any(fold.name for fold in folds):
        return []
    names = matched_traits(cohort, spec).names
    return [f"{MATCHED}{listed(list(names))}"] if names else []


def _stratified(cohort: Cohort, people: People, spec: FoldSpec) -> list[Fold]:
    counts = np.bincount(people.y, minlength=len(cohort.classes))
    smallest = int(counts.argmin())
    if not cohort.kind.classes:
        if len(people.names) < PER_FOLD * spec.n:
            raise SlicecacheError(
                f"{len(people.names)} participants are too few for {spec.n} folds of at least {PER_FOLD}; "
                f"set folds.n to {len(people.names) // PER_FOLD} or less"
            )
    elif counts[smallest] < spec.n:
        few = int(counts[smallest])
        advice = f"set folds.n to {few} or less" if few >= 2 else "at least two are needed"
        raise SlicecacheError(
            f"class {cohort.classes[smallest]!r} has {few} participant{'s' * (few != 1)}, too few for "
            f"{spec.n} folds; {advice}"
        )
    folds, matched = [], matched_traits(cohort, spec)
    for repeat in range(spec.repeats):
        hands = deal(people.y, spec.n, np.random.default_rng([spec.seed, repeat]), matched)
        for fold in range(spec.n):
            rest, test = np.flatnonzero(hands != fold), np.flatnonzero(hands == fold)
            folds.append(_fold(people, rest, test, spec, repeat, fold))
    return folds


def _fold(
    people: People, rest: Ints, test: Ints, spec: FoldSpec, repeat: int, fold: int, name: str = ""
) -> Fold:
    """Cut the validation part from the training part, if that is large enough."""
    stream = np.random.default_rng([spec.seed, repeat, fold, 1])
    inside = validation_part(people.y[rest], spec, stream, people.labelled)
    return Fold(
        repeat,
        fold,
        people.bags(rest[~inside]),
        people.bags(rest[inside]),
        people.bags(test),
        name,
    )


def validation_part(
    y: Ints, spec: FoldSpec, generator: np.random.Generator, of_classes: bool = True
) -> NDArray[np.bool_]:
    """Which training participants validate, stratified: none when a class has too few.

    Args:
        y: Labels of the training participants (participant,).
        spec: Share and the least number per class.
        generator: Draws them.
        of_classes: Whether these are labels; strata of a number may be small, if all together are as many as
            two classes need.
    """
    inside = np.zeros(len(y), dtype=np.bool_)
    classes, counts = np.unique(y, return_counts=True)
    if (counts.min() if of_classes else counts.sum() // 2) < spec.minimum_per_class:
        return inside
    for c, count in zip(classes, counts, strict=True):
        n = min(max(1, round(spec.validation * int(count))), int(count) - 1)
        inside[generator.permutation(np.flatnonzero(y == c))[:n]] = True
    return inside


def _given(cohort: Cohort, sides: Sequence[str], people: People, spec: FoldSpec) -> Fold:
    side = np.asarray(sides)
    rows = {name: np.flatnonzero(side == name) for name in ("train", "validation", "test")}
    for name in ("train", "test"):
        if not len(rows[name]):
            raise SlicecacheError(f"split: no volume of the cohort is in {name}")
    _refuse_missing_class(cohort, rows["train"], "split: the training part")
    if len(rows["validation"]):
        return Fold(0, 0, rows["train"], rows["validation"], rows["test"], given=True)
    train = np.unique(people.of_bag[rows["train"]])
    return _fold(people, train, np.unique(people.of_bag[rows["test"]]), spec, 0, 0)


def _groups_out(cohort: Cohort, people: People, spec: FoldSpec, column: str) -> list[Fold]:
    names = group_of_participants(cohort, people, column)
    groups = sorted(set(names), key=natural)
    if len(groups) < 2:
        raise SlicecacheError(f"leave_group_out: {column!r} holds one value only ({groups[0]})")
    folds = []
    for repeat in range(spec.repeats):
        for index, group in enumerate(groups):
            test = np.array([i for i, name in enumerate(names) if name == group], dtype=np.int64)
            rest = np.setdiff1d(np.arange(len(names)), test)
            _refuse_missing_class(
                cohort, people.bags(rest), f"leave_group_out: the training part without {group}"
            )
            folds.append(_fold(people, rest, test, spec, repeat, index, group))
    return folds


def group_of_participants(cohort: Cohort, people: People, column: str) -> list[str]:
    """Each participant's group.

    Raises:
        ConfigError: If there is no such column.
        SlicecacheError: If a participant has no group, or two.
    """
    if column not in cohort.table.columns:
        known = list(cohort.table.columns)
        raise ConfigError(f"leave_group_out: the table has no column {column!r}{nearest(column, known)}")
    cells = cohort.table[column]
    found: list[set[str]] = [set() for _ in people.names]
    for person, cell, gone in zip(people.of_bag, cells, cells.isna(), strict=True):
        found[person].add("" if gone else value_name(cell))
    missing = [name for name, values in zip(people.names, found, strict=True) if "" in values]
    if missing:
        raise SlicecacheError(f"leave_group_out: {listed(missing)} has no {column!r}; leave it out by where")
    torn = [name for name, values in zip(people.names, found, strict=True) if len(values) > 1]
    if torn:
        raise SlicecacheError(f"leave_group_out: {listed(torn)} belongs to more than one {column!r}")
    return [next(iter(values)) for values in found]


def _refuse_missing_class(cohort: Cohort, rows: Ints, what: str) -> None:
    if not cohort.kind.classes:
        return
    present = set(cohort.y[rows].tolist())
    absent = [name for index, name in enumerate(cohort.classes) if index not in present]
    if absent:
        raise SlicecacheError(f"{what} has no participant with {cohort.target} = {listed(absent)}")
