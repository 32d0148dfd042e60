"""Volumes held against a bundle's training cohort: a row for each, and what is said of all together."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.common.arrays import Floats
from aggregate.predict.acquired import Difference, differences
from aggregate.predict.familiar import Familiar
from aggregate.predict.familiarity import LEVEL, Familiarity
from aggregate.predict.shift import SURE, assigned_members, expected_share, flags_p, score_of, scores_p
from cache_schema.common.terminal.command import WARNING
from cache_schema.format.record import VolumeRecord

COLUMNS = ("distance", "typical_p", "flag", "unlike")
"""What predictions have besides: `flag` is `atypical` or empty, `unlike` names facts of the acquisition."""
ATYPICAL = "atypical"
OLD = (
    "the bundle is from before it kept what its training cohort looked like, so nothing is said of whether "
    "these volumes are like it; train it again to know"
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Volumes that a bundle has scored."""

    participants: Sequence[str]
    """Of every volume."""
    records: Iterable[Sequence[VolumeRecord]]
    """Of every volume; several where volumes were put into one bag."""
    familiarity: Familiarity | None
    """Of every volume."""
    logits: Floats
    """(member, volume, class)."""
    members: Sequence[str]
    """Names in the order of the logits."""
    strangers: bool = False
    """Nobody of them is of the training, whatever they are called."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of a batch and a training cohort."""

    rows: pd.DataFrame
    """`COLUMNS`, a row per volume; none where the bundle keeps nothing."""
    summary: dict[str, Any] = field(default_factory=dict)
    """As `metrics.json` has it under `familiarity`."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""
    warnings: tuple[str, ...] = ()
    """What makes the predictions doubtful."""

    def lines(self) -> list[str]:
        """All of it, as a terminal shows it."""
        return [*(f"{WARNING}{sentence}" for sentence in self.warnings), *self.notes]


def compare(familiar: Familiar | None, batch: Batch) -> Comparison:
    """Hold a batch against the training cohort."""
    if familiar is None:
        return Comparison(pd.DataFrame(index=range(len(batch.participants))), notes=(OLD,))
    hand = {} if batch.strangers else familiar.hand
    outside = np.array([name not in hand for name in batch.participants], dtype=np.bool_)
    unlike = [_merged(familiar, records) for records in batch.records]
    rows = pd.DataFrame(
        {
            "distance": np.nan,
            "typical_p": np.nan,
            "flag": "",
            "unlike": ["; ".join(facts) for facts in unlike],
        },
        index=range(len(unlike)),
    )
    if batch.familiarity is not None:
        near = batch.familiarity
        rows = rows.assign(
            distance=near.distance, typical_p=near.p, flag=np.where(near.flagged, ATYPICAL, "")
        )
    first = _first_of_each(batch.participants, outside)
    flags = _flags(rows, familiar, first)
    scores = _scores(familiar, batch, first)
    found = differences(familiar.card.acquired, unlike)
    notes, warnings = _sentences(flags, scores, found, len(unlike), len(familiar.card.participants))
    summary = {**flags, "scores": scores, "unlike": [asdict(item) for item in found]}
    return Comparison(rows, {**summary, "sentences": [*warnings, *notes]}, notes, warnings)


def _merged(familiar: Familiar, records: Sequence[VolumeRecord]) -> dict[str, str]:
    """Facts in which any of a bag's volumes differs."""
    return {fact: v for record in records for fact, v in familiar.card.acquired.unlike(record).items()}


def _first_of_each(participants: Sequence[str], outside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """One volume of every participant that is not of the training: only people are independent."""
    first: dict[str, int] = {}
    for row, name in enumerate(participants):
        if outside[row]:
            first.setdefault(name, row)
    return np.array(sorted(first.values(), key=lambda row: participants[row]), dtype=np.int64)


def _flags(rows: pd.DataFrame, familiar: Familiar, first: NDArray[np.int64]) -> dict[str, Any]:
    """How many are flagged, and how rare that is."""
    n_training = len(familiar.card.participants)
    found: dict[str, Any] = {"level": LEVEL, "n_training": n_training, "n_participants": len(first)}
    if not familiar.references or not len(first):
        return {**found, "flagged": None, "expected": None, "p": None}
    flagged = int((rows["flag"].iloc[first] == ATYPICAL).sum())
    p = flags_p(flagged, len(first), n_training)
    return {**found, "flagged": flagged, "expected": expected_share(n_training), "p": p}


def _scores(familiar: Familiar, batch: Batch, first: NDArray[np.int64]) -> dict[str, Any] | None:
    """Whether scores are distributed as training's out-of-fold."""
    places = [place for place, name in enumerate(batch.members) if name in familiar.scores]
    if not places or not len(first):
        return None
    trained = [familiar.scores[batch.members[place]] for place in places]
    chosen = np.array(places)[assigned_members(len(first), [len(own) for own in trained])]
    distance, p = scores_p(score_of(batch.logits[chosen, first]), np.concatenate(trained))
    return {"distance": distance, "p": p}


def _sentences(
    flags: dict[str, Any], scores: dict[str, Any] | None, found: Sequence[Difference], n: int, n_training: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes and warnings."""
    notes: list[str] = []
    warnings: list[str] = []
    if flags["flagged"] is not None:
        told = (
            f"{flags['flagged']} of {flags['n_participants']} participants are flagged as atypical of the "
            f"training cohort; of a cohort drawn alike {flags['expected']:.1%} are (p = {flags['p']:.2g})"
        )
        (warnings if flags["p"] < SURE else notes).append(told)
    elif not flags["n_participants"]:
        notes.append("all participants were in training: each was held against the others")
    else:
        notes.append(f"training had {n_training} participants, too few for a flag at {LEVEL:.0%}")
    if scores is not None and scores["p"] < SURE:
        warnings.append(
            "scores are not distributed as the training's out-of-fold scores (Kolmogorov-Smirnov "
            f"{scores['distance']:.2f}, p = {scores['p']:.2g}): other people, or other images"
        )
    warnings += [difference.sentence(n) for difference in found]
    return tuple(notes), tuple(warnings)
