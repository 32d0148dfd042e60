"""Who takes part, who does not and why: one answer for terminal, `metrics.json` and report."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aggregate.cohort.table.cohort_table import MergedColumns
from aggregate.cohort.table.join import Join, LeftOut
from aggregate.common.table_values import listed
from cache_schema.common.text.counts import counted
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader

PENDING = "planned, not embedded yet"
FAILED = "extraction failed"
SHOWN = 3
"""Names behind a reason on the terminal; all of them are in `metrics.json`."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What was planned for a store and is not in it."""

    committed: int = 0
    """Of the planned volumes."""
    failed: tuple[LeftOut, ...] = ()
    pending: tuple[LeftOut, ...] = ()
    refused: int = 0
    """Of the failed ones those that were refused before they had a row in the table."""

    @property
    def planned(self) -> int:
        """Volumes with a row in the store's table."""
        return self.committed + len(self.failed) - self.refused + len(self.pending)

    @property
    def missing(self) -> tuple[LeftOut, ...]:
        """All that is not there."""
        return (*self.failed, *self.pending)

    def sentence(self) -> str:
        """`20 of 30 planned volumes are committed: ...`; empty where all are."""
        if self.committed == self.planned:
            return ""
        parts = [(len(self.pending), "are not done yet"), (len(self.failed) - self.refused, "failed")]
        told = ", ".join(f"{n} {what}" for n, what in parts if n)
        return (
            f"{self.committed} of {self.planned} planned volumes are committed ({told}): this is a part of "
            "the store that was planned, and what comes of it may change when the rest is there"
        )

    def of_predictions(self) -> str:
        """One line for who predicts from a store that is not whole."""
        kinds = (("failed", self.failed), ("not done yet", self.pending))
        told = "; ".join(
            f"{len(items)} {what} ({listed([_called(item) for item in items], SHOWN)})"
            for what, items in kinds
            if items
        )
        n = len(self.missing)
        return f"no prediction for {counted(n, 'volume')} that {'was' if n == 1 else 'were'} planned: {told}"


def shortfall_of(store: StoreReader) -> Shortfall:
    """Hold what a store has against its table and its failures."""
    done = {entry.key for entry in store.entries}
    failures = {failure.key: failure.reason for failure in store.failures() if failure.key not in done}
    rows = {row.key for row in store.table()}
    return Shortfall(
        committed=len(done),
        failed=tuple(_left_out(key, f"{FAILED} ({failures[key]})") for key in sorted(failures)),
        pending=tuple(_left_out(key, PENDING) for key in sorted(rows - done - failures.keys())),
        refused=len(failures.keys() - rows),
    )


def _left_out(key: VolumeKey, reason: str) -> LeftOut:
    return LeftOut(key.participant_id, key.session_id, key.volume_id, reason)


@dataclass(frozen=True, slots=True)
class Turnout:
    """Of whom a store and a table know, who is used."""

    used: int = 0
    """Participants."""
    known: int = 0
    """Participants of the store, be their volumes committed or only planned."""
    left_out: tuple[LeftOut, ...] = ()
    """Volumes of the store and rows of the table, each with the first reason that applied."""
    shortfall: Shortfall = Shortfall()
    lookalikes: str = ""
    """What would match if ids were written alike; empty where nothing would."""
    merged: tuple[MergedColumns, ...] = ()
    """What became of further tables."""

    def line(self) -> str:
        """`31 of 35 participants are used; left out: 4 volumes ...`; empty where nobody is left out."""
        if not self.left_out:
            return ""
        groups: dict[tuple[str, str], dict[str, None]] = {}
        for item in self.left_out:
            what = "volume" if item.volume_id else "row"
            groups.setdefault((what, kind_of(item.reason)), {})[_called(item)] = None
        counts = Counter(
            ("volume" if item.volume_id else "row", kind_of(item.reason)) for item in self.left_out
        )
        told = "; ".join(
            f"{n} {what}{'s' * (n > 1)} {kind} ({listed(list(groups[what, kind]), SHOWN)})"
            for (what, kind), n in counts.most_common()
        )
        return f"{self.used} of {self.known} participants of the store are used; left out: {told}"

    def warnings(self) -> tuple[str, ...]:
        """What makes the results doubtful."""
        return tuple(sentence for sentence in (self.shortfall.sentence(), self.lookalikes) if sentence)

    def as_json(self) -> dict[str, Any]:
        """What `metrics.json` says of it; the list is complete."""
        return {
            "turnout": {
                "participants": {"used": self.used, "known": self.known},
                "volumes": {"committed": self.shortfall.committed, "planned": self.shortfall.planned},
                "lookalikes": self.lookalikes,
                "tables": [asdict(table) for table in self.merged],
            },
            "left_out": self.rows(),
        }

    def rows(self) -> list[dict[str, str]]:
        """Everybody who is left out: participant_id, session_id, volume_id, reason."""
        return [asdict(item) for item in self.left_out]


def kind_of(reason: str) -> str:
    """A reason without what differs from one volume to the next."""
    return re.sub(r" \(.*", "", reason, flags=re.DOTALL)


def _called(item: LeftOut) -> str:
    """A name for the terminal: the participant, and the session where there is one."""
    name = "/".join(part for part in (item.participant_id, item.session_id) if part)
    return name if name.isprintable() else repr(name)


def turnout_of(
    store: StoreReader,
    join: Join,
    used: Iterable[str],
    left_out: Sequence[LeftOut],
    shortfall: Shortfall,
    lookalikes: str,
    merged: tuple[MergedColumns, ...] = (),
) -> Turnout:
    """Put the answer together.

    Args:
        store: Open.
        join: Says which ids are one participant's.
        used: Participants of the volumes that take part.
        left_out: Committed volumes, and rows of the table.
        shortfall: Of the store.
        lookalikes: From `lookalikes_of`.
        merged: Further tables.
    """
    committed = {join.participant(entry.key.participant_id) for entry in store.entries}
    missing = {join.participant(item.participant_id) for item in shortfall.missing}
    return Turnout(
        used=len({join.participant(name) for name in used}),
        known=len(committed | missing),
        left_out=(*left_out, *shortfall.missing),
        shortfall=shortfall,
        lookalikes=lookalikes,
        merged=merged,
    )
