"""Participants, and a division of their bags into the sides of a fold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from aggregate.common.arrays import Ints
from aggregate.common.table_values import natural
from cache_schema.common.strict import Strict


class FoldSpec(Strict):
    """Stratified folds that keep a participant on one side."""

    n: int = Field(default=5, ge=2)
    """How many parts; each is the test part once."""
    repeats: int = Field(default=1, ge=1)
    """How many times all folds are dealt anew, which costs as much again and makes intervals narrower."""
    seed: int = Field(default=0, ge=0)
    """What folds, and everything random in training, are drawn from."""
    validation: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training part's participants that an early stop looks at, and then threshold and
    temperature. Where nothing stops early, these come from inner folds, and training has all."""
    minimum_per_class: int = Field(default=20, ge=2)
    """With fewer training participants in a class there is no validation part: epochs are fixed and the
    threshold is 0.5."""
    matched: tuple[str, ...] | None = None
    """Columns that folds are dealt by besides the label, as far as they are matched between the classes; by
    default age, sex and site, e.g. `[age, sex]`."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One division of the bags."""

    repeat: int
    fold: int
    train: Ints
    """Rows that weights are fitted on (bag,), ascending."""
    validation: Ints
    """Rows that stop training and set threshold and temperature; may be empty."""
    test: Ints
    name: str = ""
    """The group that is left out, if it is one."""
    given: bool = False
    """Whether a table says who validates; else the validation part was cut from the training part."""

    @property
    def inside(self) -> Ints:
        """Training and validation rows together, ascending."""
        return np.sort(np.concatenate([self.train, self.validation]))


@dataclass(frozen=True, slots=True)
class People:
    """Participants of a cohort in natural order, so that folds do not depend on the store's order."""

    names: tuple[str, ...]
    y: Ints
    """(participant,)"""
    of_bag: Ints
    """Index into `names` (bag,)."""
    labelled: bool = True
    """Whether `y` are labels, and no strata of a number."""

    def bags(self, people: Ints) -> Ints:
        """Rows of these participants, ascending."""
        return np.flatnonzero(np.isin(self.of_bag, people)).astype(np.int64)


def people_of(participants: Sequence[str], y: Ints) -> People:
    """Gather bags by participant; a participant's label is that of any of its bags."""
    names = sorted(set(participants), key=natural)
    place = {name: index for index, name in enumerate(names)}
    of_bag = np.array([place[name] for name in participants], dtype=np.int64)
    own = np.zeros(len(names), dtype=np.int64)
    own[of_bag] = y
    return People(tuple(names), own, of_bag)
