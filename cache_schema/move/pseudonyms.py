"""Pseudonyms for participants and sessions, kept by the user in a table beside the export.

A pseudonym is random and not made from the id: whoever guesses an id cannot check the guess. The table
makes it stable: an export that is given the table of an earlier one uses its pseudonyms again.
"""

import csv
import hashlib
import io
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.common.text.cells import plain_cell, safe_cell
from cache_schema.files.disk.whole import replacing
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord

KEY_COLUMNS = ("participant_id", "session_id", "volume_id")
NEW_KEY_COLUMNS = tuple(f"new_{name}" for name in KEY_COLUMNS)


class Pseudonyms:
    """Which volume gets which new key."""

    def __init__(self, known: dict[VolumeKey, VolumeKey] | None = None) -> None:
        """Hold pseudonyms that were given before."""
        self._keys = dict(known or {})
        self._salt = secrets.token_bytes(16)

    def cover(self, keys: Iterable[VolumeKey]) -> None:
        """Give every volume a new key, those that have one theirs.

        Sessions of a participant are numbered in natural order (`ses-2` before `ses-10`), so that the
        first one stays the first; with an earlier table the new ones follow those that it has.
        """
        people = {old.participant_id: new.participant_id for old, new in self._keys.items()}
        visits = {(old.participant_id, old.session_id): new.session_id for old, new in self._keys.items()}
        taken, counts = set(people.values()), Counter(who for who, which in visits if which)
        volumes = set(self._keys.values())
        for old in sorted(set(keys) - self._keys.keys(), key=_natural_key):
            if old.participant_id not in people:
                people[old.participant_id] = _fresh(taken)
            visit = (old.participant_id, old.session_id)
            if old.session_id and visit not in visits:
                counts[old.participant_id] += 1
                visits[visit] = f"{counts[old.participant_id]:02d}"
            new = VolumeKey(people[old.participant_id], visits.get(visit, ""), _volume_id(old))
            number = 1
            while new in volumes:
                number += 1
                new = replace(new, volume_id=f"volume-{number}")
            volumes.add(new)
            self._keys[old] = new

    def key(self, old: VolumeKey) -> VolumeKey:
        """The new key of a volume.

        Raises:
            StoreError: If it has none.
        """
        if old not in self._keys:
            raise StoreError(f"volume {old} has no pseudonym")
        return self._keys[old]

    def record(self, record: VolumeRecord) -> VolumeRecord:
        """A record whose source cannot be told any more; inputs, being digests of files, are left out.

        Volumes of one source file still share its digest, which folds look at, but the digest itself is
        salted: it is not that of the file.
        """
        salted = hashlib.sha256(self._salt + record.source.sha256.encode()).hexdigest()
        source = record.source.model_copy(update={"path": "", "bytes": 0, "mtime_ns": 0, "sha256": salted})
        return record.model_copy(update={"source": source, "inputs": None})

    def save(self, path: str | Path) -> None:
        """Write the table, readable by its owner only, whole or not at all."""
        text = io.StringIO()
        table = csv.writer(text, delimiter="\t", lineterminator="\n")
        table.writerow([*KEY_COLUMNS, *NEW_KEY_COLUMNS])
        pairs = sorted(self._keys.items())
        table.writerows(map(safe_cell, (*old.as_list(), *new.as_list())) for old, new in pairs)
        target = Path(os.path.expanduser(path)).absolute()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as beside:
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(descriptor, "w", encoding="utf-8") as file:
                    file.write(text.getvalue())
        except OSError as error:
            raise StoreError(f"cannot write {str(target)!r}: {error.strerror}") from error


def read_pseudonyms(path: str | Path) -> Pseudonyms:
    """The pseudonyms of a table; none when there is no such file.

    Raises:
        StoreError: If it is no such table.
    """
    try:
        text = Path(os.path.expanduser(path)).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Pseudonyms()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read the pseudonyms {str(path)!r}: {error}") from error
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    except csv.Error as error:
        raise StoreError(f"{str(path)!r} is no table of pseudonyms: {error}") from error
    missing = [name for name in (*KEY_COLUMNS, *NEW_KEY_COLUMNS) if rows and rows[0].get(name) is None]
    if missing:
        raise StoreError(f"{str(path)!r} is no table of pseudonyms: it has no column {missing[0]!r}")
    if ragged := [number for number, row in enumerate(rows, start=2) if None in row or None in row.values()]:
        raise StoreError(f"row {ragged[0]} of {str(path)!r} has not as many cells as the header")
    keys = {_key(row, KEY_COLUMNS): _key(row, NEW_KEY_COLUMNS) for row in rows}
    if len(set(keys.values())) < len(rows):
        raise StoreError(f"{str(path)!r} gives one volume twice, or one pseudonym to two volumes")
    return Pseudonyms(keys)


def _key(row: dict[str, str], columns: tuple[str, ...]) -> VolumeKey:
    return VolumeKey(*(plain_cell(row[name]) for name in columns))


def _fresh(taken: set[str]) -> str:
    """A new participant pseudonym; it begins with a letter, so that no table reads it as a number."""
    while (name := f"p{secrets.token_hex(4)}") in taken:
        continue
    taken.add(name)
    return name


def _volume_id(key: VolumeKey) -> str:
    """The volume id, unless it gives the participant or session away."""
    ids = [part.lower() for part in (key.participant_id, key.session_id) if len(part) >= 3]
    return "volume-1" if any(part in key.volume_id.lower() for part in ids) else key.volume_id


def _natural_key(key: VolumeKey) -> list[list[tuple[int, int, str]]]:
    """Digits count as numbers and come before text."""
    return [
        [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", text)]
        for text in key.as_list()
    ]
