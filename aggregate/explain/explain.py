"""From a bundle and its cohort to maps, controls and verdicts; no file is read or written here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aggregate.common.arrays import Floats, Ints
from aggregate.explain.deleting import ShareCurves, delete
from aggregate.explain.deletion import area
from aggregate.explain.looking import BLOCK, Asked, Looked, Onlooker
from aggregate.explain.stability import Agreement, agreement, gathered
from aggregate.explain.verdict import Judgement, judge, separation
from aggregate.targets.question import Question
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.terminal.progress import Progress


@dataclass(frozen=True, slots=True)
class Explained:
    """What was found."""

    asked: Asked
    """With the methods that say something of the head."""
    looked: tuple[Looked, ...]
    """Of every member that has somebody to look at."""
    persons: tuple[str, ...]
    """Participants who are judged."""
    questions: tuple[Question, ...]
    """With the truth of every person."""
    curves: ShareCurves
    """Of persons."""
    judgements: dict[str, Judgement]
    stability: dict[str, dict[str, Agreement]]
    """By method, by what members differ in."""
    stability_saw: bool
    """Stability is between a member that did not see a participant and one that did."""
    left_out: dict[str, str]
    """Methods that say nothing of the head, and why."""

    def separations(self, method: str, way: str) -> dict[str, Floats]:
        """How the score goes with the truth by share (share,), for the method's map and its controls."""
        rows = np.arange(len(self.persons))
        return {
            name: separation(found[way], self.questions, rows) for name, found in self.curves[method].items()
        }


def explain_bags(asked: Asked, progress: Progress | None = None) -> Explained:
    """Map every bag by the members that did not see its participant, and hold the maps against controls.

    Args:
        asked: What is explained.
        progress: Called with (blocks of bags done, of how many).

    Raises:
        SlicecacheError: If every member saw everybody, or no method says anything of the head.
    """
    rows = {m: own for m in range(len(asked.bundle.states)) if len(own := asked.unseen(m))}
    if not rows and asked.known.n_volumes and not asked.bundle.card.volumes:
        raise SlicecacheError(asked.known.sentence("", tells_whose=False))
    if not rows:
        raise SlicecacheError(
            "every participant of the cohort had a part in every member of the bundle, so nobody can be "
            "explained out of fold; give the cohort that it was trained on in cross-validation"
        )
    onlooker = Onlooker(asked, asked.bundle.head())
    left_out = onlooker.reasons()
    asked = replace(asked, methods=tuple(one for one in asked.methods if one.name not in left_out))
    if not asked.methods:
        told = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise SlicecacheError(f"no method says anything of this head ({told})")
    onlooker.asked = asked
    again = beside_members(asked, rows)
    done = _counter(
        progress, sum(-(-len(own) // BLOCK) for own in (*rows.values(), *rows.values(), *again.values()))
    )
    looked = [onlooker.look(member, own, True, done) for member, own in rows.items()]
    found = [onlooker.look(member, own, False, done) for member, own in again.items()]
    of_bags, persons, persons_of = delete(onlooker, looked, done), *_persons(asked, rows)
    own_curves = {
        method: {
            name: {way: _by_person(curve, persons_of) for way, curve in ways.items()}
            for name, ways in named.items()
        }
        for method, named in of_bags.items()
    }
    questions = tuple(
        replace(one, truth=np.array([one.truth[own].mean() for own in persons_of])) for one in asked.questions
    )
    return Explained(
        asked,
        tuple(looked),
        persons,
        questions,
        own_curves,
        _judged(own_curves, questions, _n_train(asked, persons)),
        {one.name: _stability(asked, [*looked, *found], one.name) for one in asked.methods},
        bool(again),
        left_out,
    )


def beside_members(asked: Asked, rows: dict[int, Ints]) -> dict[int, Ints]:
    """Where nobody is judged twice, bags that a further member looks at, so that two can be compared.

    It is the next one of another fold, which saw the participant.
    """
    if len(np.unique(np.concatenate(list(rows.values())))) < sum(map(len, rows.values())) or len(rows) < 2:
        return {}
    members = list(rows)
    return {after: rows[one] for one, after in zip(members, members[1:] + members[:1], strict=True)}


def _persons(asked: Asked, rows: dict[int, Ints]) -> tuple[tuple[str, ...], list[Ints]]:
    """Participants that somebody looked at, in order, and the bags of each."""
    seen = np.unique(np.concatenate(list(rows.values())))
    own: dict[str, list[int]] = {}
    for row in seen.tolist():
        own.setdefault(asked.participants[row], []).append(row)
    return tuple(own), [np.array(bags, dtype=np.int64) for bags in own.values()]


def _by_person(curve: Floats, persons: Sequence[Ints]) -> Floats:
    """The mean over the bags of each (question, person, share)."""
    return np.stack([curve[:, own].mean(axis=1) for own in persons], axis=1)


def _judged(own: ShareCurves, questions: tuple[Question, ...], n_train: float | None) -> dict[str, Judgement]:
    areas = {
        method: {name: area(ways["deletion"]) for name, ways in named.items()}
        for method, named in own.items()
    }
    persons = next(iter(next(iter(areas.values())).values())).shape[1]
    return judge(areas, questions, np.arange(persons), n_train)


def _n_train(asked: Asked, persons: Sequence[str]) -> float | None:
    """Participants that a member saw on average; None where none of them is judged by another."""
    members = [frozenset(member.participants) for member in asked.bundle.card.members]
    themselves = frozenset[str]().union(*map(asked.known.known_as, persons))
    if all(themselves.isdisjoint(seen) for seen in members):
        return None
    return float(np.mean([len(seen) for seen in members]))


def _stability(asked: Asked, looked: Sequence[Looked], method: str) -> dict[str, Agreement]:
    """Of every bag that several members looked at."""
    members, keep = asked.bundle.card.members, asked.bags.keep.numpy()
    maps: dict[int, list[tuple[int, Floats]]] = {}
    for one in looked:
        for at, row in enumerate(one.rows.tolist()):
            maps.setdefault(row, []).append((one.member, one.own[method][:, at]))
    return gathered(
        [
            agreement([(members[member], found) for member, found in own], keep[row])
            for row, own in maps.items()
        ]
    )


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    """Counts calls."""
    done = 0

    def one() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return one
