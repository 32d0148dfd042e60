"""Two of several classes against each other: the cohort narrowed to the participants of these two.

A participant is in a contrast with the label, sessions and volumes that they have in the whole cohort:
somebody who was counted as MCI is in no contrast of CN and AD, whatever became of them later.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from aggregate.cohort.cohort import Cohort
from aggregate.cohort.table.join import LeftOut
from aggregate.cohort.task import TargetBase
from aggregate.common.table_values import listed, nearest
from aggregate.targets.classification import Classification, ClassificationSpec
from cache_schema.common.errors import ConfigError
from cache_schema.store.reading.records import Picked

LONGEST = 40
"""Characters of a label in the name of a contrast."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One class against another."""

    name: str
    """Fit for a folder, and no other contrast's."""
    negative: str
    positive: str

    @property
    def classes(self) -> tuple[str, str]:
        """In the order of its logits."""
        return self.negative, self.positive


def contrasts_of(spec: TargetBase, classes: Sequence[str]) -> list[Contrast]:
    """What `target.pairs` asks for, in its order; of `all` the later class is positive.

    Args:
        spec: The target.
        classes: Labels of the whole cohort.

    Raises:
        ConfigError: If there are two classes only, or a pair is not of two different ones, or there twice.
    """
    if not isinstance(spec, ClassificationSpec) or spec.pairs is None:
        return []
    if len(classes) < 3:
        raise ConfigError(
            f"target.pairs is for more than two classes, not for {len(classes)}: {listed(list(classes))}"
        )
    pairs = list(combinations(classes, 2)) if spec.pairs == "all" else list(spec.pairs)
    for negative, positive in pairs:
        for name in (negative, positive):
            if name not in classes:
                raise ConfigError(f"target.pairs: {name!r} is not a class{nearest(name, list(classes))}")
        if negative == positive:
            raise ConfigError(f"target.pairs sets {negative!r} against itself")
    if len({frozenset(pair) for pair in pairs}) < len(pairs):
        raise ConfigError("target.pairs names two classes twice; once is enough, the positive one last")
    names = folder_names([f"{_slug(a)}_vs_{_slug(b)}" for a, b in pairs])
    return [Contrast(name, *pair) for name, pair in zip(names, pairs, strict=True)]


def _slug(label: str) -> str:
    """A label as a part of a folder's name, on any disk."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", label).strip(".-")[:LONGEST] or "class"


def folder_names(wanted: Sequence[str]) -> list[str]:
    """These names, the later of equal ones with a number; disks may not tell capitals."""
    found: list[str] = []
    for name in wanted:
        taken, number, own = {other.lower() for other in found}, 1, name
        while own.lower() in taken:
            number += 1
            own = f"{name}-{number}"
        found.append(own)
    return found


def narrowed(cohort: Cohort, contrast: Contrast) -> Cohort:
    """The cohort of a contrast; who is in neither class is left out and listed."""
    places = [cohort.classes.index(name) for name in contrast.classes]
    keep = np.isin(cohort.y, places)
    rows, chosen = np.flatnonzero(keep), np.flatnonzero(keep[cohort.bag]).tolist()
    y = (cohort.y[rows] == places[1]).astype(np.int64)
    others = [
        LeftOut(
            key.participant_id, key.session_id, key.volume_id, f"{cohort.classes[label]} is in neither class"
        )
        for key, label in zip(
            (entry.key for entry in cohort.entries), cohort.y[cohort.bag].tolist(), strict=True
        )
        if label not in places
    ]
    used = len(np.unique(cohort.participants[rows]))
    note = (
        f"{contrast.negative!r} against {contrast.positive!r}, which is positive: participants of these "
        f"two of {len(cohort.classes)} classes"
    )
    return replace(
        cohort,
        frame=cohort.frame.iloc[rows].reset_index(drop=True).assign(y=y),
        entries=tuple(cohort.entries[place] for place in chosen),
        classes=contrast.classes,
        kind=Classification(contrast.classes),
        values=y[:, None].astype(np.float64),
        turnout=replace(cohort.turnout, used=used, left_out=(*cohort.turnout.left_out, *others)),
        bag=(np.cumsum(keep) - 1)[cohort.bag[chosen]],
        records=Picked(cohort.records, chosen),
        table=cohort.table.iloc[rows].reset_index(drop=True),
        acquisition=cohort.acquisition.iloc[rows].reset_index(drop=True),
        sides=None if cohort.sides is None else tuple(cohort.sides[row] for row in rows),
        notes=(*cohort.notes, note),
    )


def target_of(spec: TargetBase, contrast: Contrast) -> TargetBase:
    """The target of a contrast alone, as its bundle keeps it."""
    said = spec.classes if isinstance(spec, ClassificationSpec) else None
    classes = {name: (said or {}).get(name, (name,)) for name in contrast.classes}
    return ClassificationSpec(column=spec.column, classes=classes, positive=contrast.positive)
