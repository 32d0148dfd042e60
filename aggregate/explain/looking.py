"""Every member's maps of the bags of participants whom it did not see, and those of a random head beside."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.common.arrays import Floats, Ints
from aggregate.explain.methods.base import MethodBase
from aggregate.explain.typical import HeightSums, bands_of, height_sums
from aggregate.explain.view import View, drawn_at_random, precise, view_of
from aggregate.heads.base import Head
from aggregate.predict.bundle import Bundle
from aggregate.predict.seen import Recognised
from aggregate.targets.question import Question

BLOCK = 64
"""Bags looked at together."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be explained, and how."""

    bundle: Bundle
    bags: Bags
    """Of the cohort; their tokens may lie in the store."""
    participants: Sequence[str]
    """Of every bag."""
    questions: tuple[Question, ...]
    methods: tuple[MethodBase, ...]
    seed: int = 0
    """Of random heads, of who gets whose map, and of draws among equal slices."""

    known: Recognised = field(default_factory=Recognised)
    """Who of them is somebody of the training under another id."""

    def unseen(self, member: int) -> Ints:
        """Bags of participants who had no part in a member, by id and by the content of their volumes."""
        seen = frozenset(self.bundle.card.members[member].participants)
        own = [self.known.known_as(name).isdisjoint(seen) for name in self.participants]
        return np.flatnonzero(np.array(own, dtype=bool)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Looked:
    """What one member makes of some bags."""

    member: int
    rows: Ints
    own: dict[str, Floats]
    """By method (question, row, slice); 0 at pads."""
    random: dict[str, Floats]
    """The same of a head with random weights; nothing where it was not asked for."""


def blocks(rows: Ints) -> Iterator[Ints]:
    """Rows, some at a time."""
    yield from (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


class Onlooker:
    """Members looking at bags, with what is typical of their training at hand."""

    def __init__(self, asked: Asked, head: Head) -> None:
        """Add up the cohort's tokens by height, if a method asks for that."""
        self.asked, self.head = asked, head
        self.whole: HeightSums | None = None
        if any(method.needs_typical for method in asked.methods):
            self.span = bands_of(asked.bags)
            self.whole = height_sums(asked.bags, np.arange(len(asked.bags)), self.span)

    def typical(self, member: int) -> HeightSums | None:
        """Of the participants that a member was trained on."""
        if self.whole is None:
            return None
        return self.whole.without(height_sums(self.asked.bags, self.asked.unseen(member), self.span))

    def view(self, member: int, rows: Ints, sums: HeightSums | None, random: bool = False) -> View:
        """A member, or a random head in its place, before some bags."""
        bags = self.asked.bags.take(rows)
        state = precise(self.head, self.asked.bundle.states[member])
        if random:
            state = drawn_at_random(self.head, state, self.asked.seed + 7919 * (member + 1))
        typical: Tensor | None = None if sums is None else sums.at(bags.height_mm)
        return view_of(self.head, state, bags, typical)

    def look(self, member: int, rows: Ints, random: bool, done: Callable[[], None]) -> Looked:
        """Every method's map of some bags, and a random head's."""
        sums, shape = self.typical(member), (len(self.asked.questions), len(rows), self.asked.bags.shape[1])
        own = {method.name: np.zeros(shape) for method in self.asked.methods}
        drawn = {name: np.zeros(shape) for name in own} if random else {}
        for start, some in zip(range(0, len(rows), BLOCK), blocks(rows), strict=True):
            for found, is_random in ((own, False), (drawn, True)):
                if not found:
                    continue
                view = self.view(member, some, sums, is_random)
                keep = view.keep.numpy()
                for method in self.asked.methods:
                    evidence = np.where(keep, method.evidence(view, self.asked.questions), 0.0)
                    found[method.name][:, start : start + len(some), : keep.shape[1]] = evidence
            done()
        return Looked(member, rows, own, drawn)

    def reasons(self) -> dict[str, str]:
        """Methods that say nothing of this head, and why."""
        member = next(m for m in range(len(self.asked.bundle.states)) if len(self.asked.unseen(m)))
        rows = self.asked.unseen(member)[:2]
        view = self.view(member, rows, self.typical(member))
        found = {method.name: method.reason(view) for method in self.asked.methods}
        return {name: reason for name, reason in found.items() if reason}
