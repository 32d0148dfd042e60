"""One look at a store, and the next ones, which read only what is new."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cache_schema.common.errors import StoreError
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import Objects
from cache_schema.status.counts import Counts, Planned, count
from cache_schema.status.crew import HEARD_SECONDS, Crew, crew_of, waiting_share
from cache_schema.status.left import seconds_left
from cache_schema.status.reasons import reasons_of
from cache_schema.store.create import load_header
from cache_schema.store.reading.exchanged import EXCHANGES, stamp_of
from cache_schema.store.reading.unlisted import with_names
from cache_schema.workers.heard import heard


@dataclass(frozen=True, slots=True)
class Status:
    """How far a store is, at a moment."""

    location: str
    when: datetime
    counts: Counts
    crew: Crew
    reasons: tuple[tuple[str, int], ...]
    """Why volumes failed, with how many."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.counts.left == 0

    @property
    def seconds_left(self) -> float | None:
        """Until all is done by those who are at work; None where nobody can know."""
        return seconds_left(self.counts.slices_left, self.crew.slices_per_second())

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        counts, crew, left = self.counts, self.crew, self.seconds_left
        share = waiting_share(crew.live)
        return {
            "store": self.location,
            "when": self.when.isoformat(timespec="seconds"),
            "planned": counts.planned,
            "committed": counts.committed,
            "failed": counts.failed,
            "left": counts.left,
            "slices_left": round(counts.slices_left),
            "sealed": counts.sealed,
            "slices_per_second": round(crew.slices_per_second(), 3),
            "seconds_left": None if left is None else round(left, 1),
            "waiting_share": None if share is None else round(share, 4),
            "heard_seconds": HEARD_SECONDS,
            "workers": [member.as_json() for member in (*crew.live, *crew.gone, *crew.done)],
            "unreadable_workers": crew.unreadable,
            "devices": [
                {"device_name": name, "device": kind, "compute_dtype": dtype, "workers": n}
                for (name, kind, dtype), n in crew.kinds().most_common()
            ],
            "processors": [{"processor": name, "workers": n} for name, n in crew.processors().most_common()],
            "reasons": [{"reason": reason, "volumes": n} for reason, n in self.reasons],
        }


class Observer:
    """Looks at a store again and again."""

    def __init__(self, location: str) -> None:
        """Nothing is opened yet."""
        self.location = location
        self._planned = Planned()

    def look(self) -> Status:
        """How far it is now.

        Raises:
            StoreError: If nothing is there, it is no store, or its header or table is damaged.
            MachineError: If it cannot be read.
        """
        for _ in range(EXCHANGES):
            objects = open_objects(self.location)
            if objects is None:
                raise StoreError(f"there is no store at {self.location!r}; `slicecache extract` makes one")
            stamp = stamp_of(objects)
            found = self._look(objects)
            if stamp == stamp_of(objects):  # else it was packed or unpacked meanwhile
                break
        return found

    def _look(self, objects: Objects) -> Status:
        """How far the objects are."""
        load_header(objects, self.location)
        objects = with_names(objects)
        beats, now = list(heard(objects)), datetime.now(UTC)
        counts = count(objects, self._planned)
        reasons = tuple(reasons_of(objects, counts.failures))
        return Status(self.location, now, counts, crew_of(beats, now), reasons)
