"""Whether a map says where the label is: the rule, at its level.

As slices go in a map's order, what tells the classes apart goes with them: the score's mean in the class less
that outside it (of a number, its covariance with the truth), out of fold. A map whose first slices carry the
label lowers that sooner than a map that knows nothing. The order of a bag never looks at its label, so that
where labels say nothing the expected difference of two maps is 0, whatever the maps are and the head is.

The rule: of participants' differences of deletion areas, method against control, a one-sided t test with the
variance of Nadeau and Bengio (`1/n + 1/n_train` in place of `1/n`, since folds train on each other's test
participants); against every control, of which the largest p counts; Holm over the methods; level 0.05.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from aggregate.common.arrays import Floats, Ints
from aggregate.explain.controls import CONTROLS
from aggregate.statistics.holm import holm
from aggregate.targets.question import Question

LEVEL = 0.05
FEWEST = 5
"""Participants of a class that a test takes."""
INTERPRETABLE, NOT = "beats its controls", "not interpretable"
RULE = (
    "one-sided t test over participants of (control's deletion area - method's), variance "
    f"(1/n + 1/n_train) s^2 after Nadeau & Bengio 2003, largest p of the controls, Holm over the methods, "
    f"level {LEVEL}"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much sooner a method's map takes the label's part of the score than a control's."""

    value: float
    low: float
    high: float
    """A two-sided 90 % interval: its lower end is what the test is about."""
    p: float
    """One-sided; NaN where there is nothing to test."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one method."""

    against: dict[str, Difference]
    p: float
    """The largest of the controls'."""
    p_holm: float
    interpretable: bool
    reason: str

    @property
    def words(self) -> str:
        """What a map of it is titled."""
        return INTERPRETABLE if self.interpretable else NOT


def weights_of(question: Question, rows: Ints) -> Floats:
    """What participants' scores are weighed by so that their sum tells how the score goes with the truth.

    Of a class: the mean in it less the mean outside. Of a number: the covariance with the truth in standard
    units. Either way the weights add up to 0.

    Args:
        question: With the truth of every participant.
        rows: Participants that are judged.
    """
    truth = question.truth[rows]
    if question.of == "class":
        inside = truth > 0.5
        return np.where(inside, 1 / max(1, inside.sum()), -1 / max(1, (~inside).sum()))
    spread = truth.std()
    return (truth - truth.mean()) / (len(truth) * (spread if spread > 0 else 1.0))


def separation(scores: Floats, questions: Sequence[Question], rows: Ints) -> Floats:
    """How the score goes with the truth, the mean over questions (...), of scores (question, person, ...)."""
    parts = [
        np.tensordot(weights_of(question, rows), scores[at][rows], axes=(0, 0))
        for at, question in enumerate(questions)
    ]
    return np.asarray(np.mean(parts, axis=0))


def judge(
    areas: dict[str, dict[str, Floats]], questions: Sequence[Question], rows: Ints, n_train: float | None
) -> dict[str, Judgement]:
    """Judge every method.

    Args:
        areas: By method, then `own` or a control: deletion areas (question, person).
        questions: With the truth of every person.
        rows: Persons that have them.
        n_train: Participants that a member saw, where those that are judged had a part in other members.
    """
    factor = 1.0 if n_train is None else 1 + len(rows) / n_train
    found = {}
    for method, own in areas.items():
        against = {
            name: difference(own[name] - own["own"], questions, rows, factor)
            for name in CONTROLS
            if name in own
        }
        p = max((1.0 if np.isnan(one.p) else one.p for one in against.values()), default=1.0)
        found[method] = Judgement(against, p, p, False, "")
    corrected = holm([one.p for one in found.values()])
    return {
        method: replace(one, p_holm=p, interpretable=p < LEVEL, reason=_reason(one, p, len(found)))
        for (method, one), p in zip(found.items(), corrected, strict=True)
    }


def difference(gain: Floats, questions: Sequence[Question], rows: Ints, factor: float) -> Difference:
    """The test of one method against one control.

    Args:
        gain: Areas of the control less those of the method (question, person).
        questions: With the truth of every person.
        rows: Persons that are judged.
        factor: What the variance is multiplied by, since persons train each other's heads.
    """
    # What everybody gains alike adds up to 0, and would only widen the spread of a number's parts.
    each = np.mean(
        [
            weights_of(question, rows) * (gain[at][rows] - gain[at][rows].mean())
            for at, question in enumerate(questions)
        ],
        axis=0,
    )
    groups = _groups(questions, rows)
    value = float(each.sum())
    sizes = [int((groups == group).sum()) for group in np.unique(groups)]
    df = len(rows) - len(sizes)
    variance = (
        sum(size * each[groups == g].var(ddof=1) for g, size in enumerate(sizes)) if min(sizes) > 1 else 0
    )
    if min(sizes) < FEWEST or not variance > 0:
        return Difference(value, float("nan"), float("nan"), float("nan"))
    error = float(np.sqrt(factor * variance))
    half = float(stats.t.ppf(1 - LEVEL, df)) * error
    return Difference(value, value - half, value + half, float(stats.t.sf(value / error, df)))


def _groups(questions: Sequence[Question], rows: Ints) -> Ints:
    """Persons of one class together, of a number all; counting from 0."""
    if questions[0].of == "number":
        return np.zeros(len(rows), dtype=np.int64)
    table = np.stack([question.truth[rows] for question in questions], axis=1)
    return np.unique(table, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def _reason(found: Judgement, p: float, methods: int) -> str:
    """Why it is not believed, or what it is believed for."""
    if p < LEVEL:
        return "its first slices carry more of what tells the labels than those of every control"
    if not found.against:
        return "there is no control to hold it against"
    if any(np.isnan(one.p) for one in found.against.values()):
        return "there are too few participants, or its map does not differ from a control's"
    short = [CONTROLS[name] for name, one in found.against.items() if one.p >= LEVEL]
    if short:
        return f"not shown to beat {' or '.join(short)}"
    return f"ahead of each control, but not so clearly as {methods} methods tried together ask for"
