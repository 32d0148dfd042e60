"""Who is meant by `--participants`: ids, and tables of participants, sessions and volumes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.errors import ConfigError
from cache_schema.common.text.tables import read_rows
from cache_schema.format.identity import VolumeKey

COLUMNS = ("participant_id", "session_id", "volume_id")
PREFIXES = ("sub-", "ses-", "")
"""What BIDS writes before each, which tables have and stores may not."""
SUFFIXES = (".tsv", ".csv", ".txt")


@dataclass(frozen=True, slots=True)
class Asked:
    """Volumes that are asked for; an empty part means all."""

    parts: tuple[str, str, str]
    where: str
    """Who asked: an id as typed, or a row of a table."""
    must: bool
    """Whether it is a mistake that a store has none of them; a table may list more people."""

    def holds(self, key: VolumeKey) -> bool:
        """Whether a volume is asked for."""
        return all(
            not wanted or _plain(wanted, prefix) == _plain(found, prefix)
            for wanted, found, prefix in zip(self.parts, key.as_list(), PREFIXES, strict=True)
        )


def _plain(name: str, prefix: str) -> str:
    return name.removeprefix(prefix)


class Selection:
    """What of a store is asked for."""

    def __init__(self, asked: Iterable[Asked]) -> None:
        """Hold what is asked for, by participant."""
        self._asked: dict[str, list[Asked]] = {}
        for one in asked:
            self._asked.setdefault(_plain(one.parts[0], PREFIXES[0]), []).append(one)

    def holds(self, key: VolumeKey) -> bool:
        """Whether a volume is asked for."""
        return any(one.holds(key) for one in self._asked.get(_plain(key.participant_id, PREFIXES[0]), ()))

    def require(self, keys: Iterable[VolumeKey], location: str) -> int:
        """Refuse an id that a store does not have.

        Returns:
            Rows of tables that no volume of the store belongs to.

        Raises:
            ConfigError: Naming the id.
        """
        absent = {one for several in self._asked.values() for one in several}
        for key in keys:
            mine = self._asked.get(_plain(key.participant_id, PREFIXES[0]), ())
            absent -= {one for one in mine if one in absent and one.holds(key)}
        if wrong := sorted(one.where for one in absent if one.must):
            raise ConfigError(
                f"--participants: {location!r} has no volume of {wrong[0]!a}; it is neither an id there nor "
                f"a table ({', '.join(SUFFIXES)})"
            )
        return len(absent)


def read_selection(given: Sequence[str]) -> Selection:
    """What `--participants` says.

    Args:
        given: Ids, and names of tables, which end in .tsv, .csv or .txt.

    Raises:
        ConfigError: If a table cannot be read or has no column `participant_id`.
    """
    asked: list[Asked] = []
    for one in given:
        asked += _rows_of(Path(one)) if one.lower().endswith(SUFFIXES) else [Asked((one, "", ""), one, True)]
    return Selection(asked)


def _rows_of(path: Path) -> list[Asked]:
    """What the rows of a table ask for."""
    what = f"the table {str(path)!r}"
    rows = read_rows(path.expanduser(), what, ("\t", ","))
    if not rows:
        raise ConfigError(f"{what} is empty")
    (_, names), *body = rows
    if COLUMNS[0] not in names:
        raise ConfigError(f"{what} has no column {COLUMNS[0]!r}, only {', '.join(names)!a:.200}")
    places = [names.index(name) if name in names else None for name in COLUMNS]
    asked = []
    for line, cells in body:
        if len(cells) != len(names):
            raise ConfigError(f"line {line} of {what} has {len(cells)} cells, and the header {len(names)}")
        participant, session, volume = ("" if place is None else cells[place] for place in places)
        if not participant:
            raise ConfigError(f"line {line} of {what} names no participant")
        asked.append(Asked((participant, session, volume), f"line {line} of {path}", False))
    return asked
