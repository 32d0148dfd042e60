"""A row that was a volume's when it was planned, and is not any more when it is written."""

from cache_schema.common.errors import MachineError, ParticipantWithdrawn, SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.store.table import VolumeTable


def has_another_owner(table: VolumeTable, row: int, key: VolumeKey) -> bool:
    """Whether a row is another volume's, so that what lies in it is no business of this one's writer."""
    return any(owner is not None and owner.key != key for owner in table.rows[row : row + 1])


def lost_row(table: VolumeTable, row: int, key: VolumeKey, location: str) -> SlicecacheError:
    """Why a volume has lost its row: it was withdrawn, or another program's table went over this one's.

    The latter happens where a server keeps nobody out: two programs plan different volumes at the same
    moment, and each believes for a while that the next segment of the table is its own.
    """
    if row >= len(table.rows) or has_another_owner(table, row, key):
        return MachineError(
            f"the row of {key} in {location!r} is another's now: two programs added volumes at the same "
            "moment, which this server cannot keep apart; what is committed stays, and the same command goes "
            "on (let one `slicecache plan --create` run first)"
        )
    return ParticipantWithdrawn(
        f"the row of {key} in {location!r} was withdrawn while it was written; extract it again"
    )
