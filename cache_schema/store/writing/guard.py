"""What a writer rests on and others may take away: its participants, its rows, its arithmetic.

It is asked for before a write and after it. A removal puts its tombstone before it deletes, so that one of
the two always sees the other. In a bucket something else may happen: two programs create the same object at
the same moment, and each believes for a while that the other came later (see `files/remote/bucket.py`).
Whoever finds that what it created is another's now takes its commits back, and stops.
"""

from collections.abc import Callable, Mapping

from cache_schema.common.errors import MachineError, ParticipantWithdrawn
from cache_schema.files.writable import Writable
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import ArrayLayout, failure_name, preview_name, record_name
from cache_schema.format.numerics import FixedNumerics
from cache_schema.format.record import VolumeRecord
from cache_schema.store.commit import take_back, unseal
from cache_schema.store.numerics import read_fixed
from cache_schema.store.table import VolumeTable, read_volume_table
from cache_schema.store.withdrawn import Tombstones, read_tombstones

AGAIN = "which this server does not keep apart; the same command goes on (let one `plan --create` run first)"


class Guard:
    """What of an open store was seen last, and whether it still holds."""

    def __init__(self, objects: Writable, location: str, table: VolumeTable) -> None:
        """Hold what was seen."""
        self.table = table
        self.fixed: FixedNumerics | None = None
        """The numerics that volumes are embedded by, if this process knows them."""
        self._objects, self._location = objects, location
        self._tombstones = Tombstones()
        self._committed: list[VolumeKey] = []

    @property
    def rows(self) -> Mapping[VolumeKey, int]:
        """Row of every volume in the table."""
        return self.table.index

    def is_withdrawn(self, key: VolumeKey) -> bool:
        """Whether a volume's participant was withdrawn, as the store says now."""
        self._tombstones = read_tombstones(self._objects, self._tombstones)
        return self._tombstones.hold(key.participant_id)

    def refuse_withdrawn(self, key: VolumeKey) -> None:
        """Before a write: nothing is written of a participant who was withdrawn.

        Raises:
            ParticipantWithdrawn: If so.
        """
        if self.is_withdrawn(key):
            raise ParticipantWithdrawn(
                f"{key.participant_id!r} was withdrawn from {self._location!r}, so {key} is not written; "
                "`slicecache extract --readmit` takes a participant back"
            )

    def require_row(self, record: VolumeRecord) -> None:
        """Refuse to write to a row that is not the volume's any more, as the table was read last.

        Raises:
            ParticipantWithdrawn: If the participant was withdrawn, be they taken back since.
            MachineError: If another program's table went over the one that gave the row.
        """
        key, row = record.key, record.row
        if self.rows.get(key) == row:
            return
        self.refuse_withdrawn(key)
        if row >= len(self.table.rows) or self._is_anothers(row, key):
            raise MachineError(
                f"the row of {key} in {self._location!r} is another's now: two programs added volumes at the "
                f"same moment, {AGAIN}"
            )
        raise ParticipantWithdrawn(
            f"the row of {key} in {self._location!r} was withdrawn while it was written; extract it again"
        )

    def look_again(self, record: VolumeRecord, layouts: Callable[[], Mapping[str, ArrayLayout]]) -> None:
        """After a record was put: take everything back if it should not be there.

        The tombstones are read before the table: whoever was withdrawn and taken back in between has none
        any more, but the row is gone.

        Raises:
            ParticipantWithdrawn: If the participant was withdrawn meanwhile.
            MachineError: If the row, or the arithmetic, is another's now.
        """
        key = record.key
        withdrawn = self.is_withdrawn(key)
        self.table = read_volume_table(self._objects, self.table)
        if withdrawn or self.rows.get(key) != record.row:
            # Data in a row that is another volume's now is that volume's, or will be.
            mine = {} if self._is_anothers(record.row, key) else layouts()
            take_back(self._objects, mine, record, whosever=withdrawn)
            if withdrawn or key not in self.rows:
                self._objects.delete(preview_name(key))
                self._objects.delete(failure_name(key))
            self.refuse_withdrawn(key)
            self.require_row(record)
        if not self._objects.exclusive:
            self._require_numerics(key)

    def _is_anothers(self, row: int, key: VolumeKey) -> bool:
        """Whether a row belongs to another volume."""
        return any(owner is not None and owner.key != key for owner in self.table.rows[row : row + 1])

    def _require_numerics(self, key: VolumeKey) -> None:
        """Take all commits of this process back if they were made by other arithmetic than the store says.

        Raises:
            MachineError: If so.
        """
        self._committed.append(key)
        if self.fixed is None:
            return
        found = read_fixed(self._objects, self.fixed.header_sha256)
        if found is not None and (found.numerics, found.device) == (self.fixed.numerics, self.fixed.device):
            return
        with self._objects.together():
            for mine in self._committed:
                self._objects.delete(record_name(mine))
        unseal(self._objects)
        raise MachineError(
            f"the numerics of {self._location!r} are another program's now, and {len(self._committed)} "
            f"volumes were taken back: two programs fixed them at the same moment, {AGAIN}"
        )
