"""What makes a cohort unusable, and what makes it doubtful."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregate.cohort.table.join import LeftOut
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.text.counts import counted
from cache_schema.format.record import VolumeRecord


def refuse_empty_class(
    y: NDArray[np.int64], classes: Sequence[str], target: str, left_out: Sequence[LeftOut]
) -> None:
    """Every class needs a volume.

    Raises:
        SlicecacheError: Naming the classes without one, and the commonest reasons for leaving out.
    """
    absent = [name for index, name in enumerate(classes) if not (y == index).any()]
    if not absent:
        return
    reasons = Counter(item.reason for item in left_out).most_common(3)
    why = "; ".join(f"{n} {reason}" for reason, n in reasons) or "nothing was left out"
    raise SlicecacheError(
        f"target {target!r}: no volume of the store is left with {listed(absent)} "
        f"({len(y)} volumes remain; left out: {why})"
    )


def refuse_torn(participants: Sequence[str], y: NDArray[np.int64]) -> None:
    """With several sessions per participant the label must not change between them.

    Raises:
        SlicecacheError: Naming the participants for whom it does.
    """
    seen: dict[str, int] = {}
    torn: dict[str, None] = {}
    for participant, label in zip(participants, y, strict=True):
        if seen.setdefault(participant, int(label)) != label:
            torn[participant] = None
    if torn:
        raise SlicecacheError(
            f"a participant has one label, but it changes between the sessions of {listed(list(torn))}; "
            "use sessions: first or last, or leave them out by where"
        )


def mixed_contrasts(records: Sequence[VolumeRecord], combined: bool) -> tuple[str, ...]:
    """A note when participants differ in contrast, unless volumes are combined on purpose."""
    counts = Counter(record.entities.contrast or "(none)" for record in records)
    if len(counts) < 2 or combined:
        return ()
    return ("the cohort mixes contrasts: " + ", ".join(f"{n} ({k})" for n, k in sorted(counts.items())),)


def uneven_sessions(records: Sequence[VolumeRecord], combined: bool) -> tuple[str, ...]:
    """A warning when sessions whose volumes are combined do not all hold the same contrasts."""
    if not combined:
        return ()
    held: dict[tuple[str, str], list[str]] = {}
    for record in records:
        session = record.participant_id, record.session_id
        held.setdefault(session, []).append(record.entities.contrast or "(none)")
    counts = Counter("+".join(sorted(contrasts)) for contrasts in held.values())
    if len(counts) < 2:
        return ()
    told = ", ".join(f"{name} ({n})" for name, n in counts.most_common())
    return (
        f"sessions do not all hold the same volumes: {told}; where the label goes with what was scanned a "
        "head may learn that",
    )


def mixed_foregrounds(records: Sequence[VolumeRecord]) -> tuple[str, ...]:
    """A warning when slices and percentiles come from different kinds of foreground."""
    counts = Counter(record.foreground.kind for record in records)
    if len(counts) < 2:
        return ()
    kinds = ", ".join(f"{name} ({counted(n, 'volume')})" for name, n in sorted(counts.items()))
    return (f"the cohort mixes kinds of foreground: {kinds}; slices and scaling differ between them",)
