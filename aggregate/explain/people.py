"""Participants of an explanation one by one: out-of-fold scores, and maps beside their controls'."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.common.arrays import Floats, Ints
from aggregate.common.telling import most_telling
from aggregate.explain.controls import CENTRE, OTHER, RANDOM, centre_map
from aggregate.explain.deleting import handed_maps
from aggregate.explain.explain import Explained
from aggregate.explain.looking import Looked, blocks
from aggregate.explain.methods.base import MethodBase, scored
from aggregate.explain.view import precise, view_of

WRONG = "the score speaks most against the truth"
RIGHT = "the score speaks most for the truth"
UNSURE = "the score decides least"


@dataclass(frozen=True, slots=True)
class PersonMaps:
    """One bag's maps by one method, over its slices from low to high; attention times their number."""

    method: MethodBase
    own: Floats
    """(slice,), the mean over members."""
    low: Floats
    high: Floats
    """The lowest and the highest of the members."""
    controls: dict[str, Floats]
    """By control (slice,)."""


@dataclass(frozen=True, slots=True)
class People:
    """What all pages share."""

    found: Explained
    scores: Floats
    """Of the first question (bag,): the mean over members that did not see the bag; NaN where none looked."""
    others: dict[int, dict[str, Floats]]
    """By member, then method: other participants' maps (question, row, slice)."""
    where: dict[int, list[tuple[Looked, int]]]
    """Of every bag that was looked at: by whom, and in which row."""

    def bags(self) -> dict[str, list[int]]:
        """Bags that were looked at, by participant."""
        own: dict[str, list[int]] = {}
        for bag in sorted(self.where):
            own.setdefault(self.found.asked.participants[bag], []).append(bag)
        return own

    def chosen(self, most: int) -> dict[str, str]:
        """So many of the most telling participants and why, from the highest score down."""
        question = self.found.asked.questions[0]
        own = self.bags()
        score = {name: float(self.scores[bags].mean()) for name, bags in own.items()}
        truth = {name: float(question.truth[bags].mean()) for name, bags in own.items()}
        middle = float(np.median(list(score.values()))) if question.of == "number" else 0.0
        usual = float(np.mean(list(truth.values()))) if question.of == "number" else 0.5
        names = sorted(own)
        fits = {name: (score[name] - middle) * (truth[name] - usual) for name in names}
        told = most_telling(
            {
                WRONG: [name for name in sorted(names, key=fits.__getitem__) if fits[name] < 0],
                RIGHT: [name for name in sorted(names, key=lambda one: -fits[one]) if fits[name] >= 0],
                UNSURE: sorted(names, key=lambda name: abs(score[name] - middle)),
            },
            most,
        )
        return {name: told[name] for name in sorted(told, key=lambda one: -score[one])}

    def maps(self, bag: int, method: MethodBase) -> PersonMaps:
        """One bag's map and its controls', for the first question."""
        asked = self.found.asked
        keep = asked.bags.keep.numpy()[bag]
        times = 1.0 if method.signed else float(keep.sum())
        name, seen = method.name, self.where[bag]

        def of(maps: Iterable[Floats]) -> Floats:
            return np.stack([one[0][keep] * times for one in maps])

        each = of(looked.own[name][:, at] for looked, at in seen)
        own = each.mean(axis=0)
        controls = {RANDOM: of(looked.random[name][:, at] for looked, at in seen).mean(axis=0)}
        if self.others:
            controls[OTHER] = of(self.others[looked.member][name][:, at] for looked, at in seen).mean(axis=0)
        centre = centre_map(asked.bags.take(np.array([bag])))[0]
        centre = centre[: len(keep)][keep[: len(centre)]]
        controls[CENTRE] = centre * (np.abs(own).max() if method.signed else len(centre) / centre.sum())
        return PersonMaps(method, own, each.min(axis=0), each.max(axis=0), controls)

    def height_mm(self, bag: int) -> Floats:
        """Of a bag's slices (slice,)."""
        bags = self.found.asked.bags
        return bags.height_mm.numpy()[bag][bags.keep.numpy()[bag]].astype(np.float64)


def people_of(found: Explained) -> People:
    """Look at scores once more, and hand maps on as the test of the controls did."""
    where: dict[int, list[tuple[Looked, int]]] = {}
    for looked in found.looked:
        for at, bag in enumerate(looked.rows.tolist()):
            where.setdefault(bag, []).append((looked, at))
    return People(found, _scores(found), handed_maps(found.asked, found.looked), where)


def _scores(found: Explained) -> Floats:
    asked = found.asked
    total, count = np.zeros(len(asked.bags)), np.zeros(len(asked.bags))
    head = asked.bundle.head()
    for looked in found.looked:
        state = precise(head, asked.bundle.states[looked.member])
        for some in blocks(looked.rows):
            view = view_of(head, state, asked.bags.take(some))
            total[some] += scored(view.outputs(), asked.questions)[0]
            count[some] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def slices_of(bag_of_entry: Ints, lengths: Sequence[int], bag: int) -> list[tuple[int, int]]:
    """Entry and place in it of every slice of a bag, in the bag's order.

    Args:
        bag_of_entry: (entry,)
        lengths: Slices of every entry.
        bag: Which.
    """
    entries = np.flatnonzero(bag_of_entry == bag).tolist()
    return [(entry, place) for entry in entries for place in range(lengths[entry])]
