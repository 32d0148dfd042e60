"""Who a volume is: the key that names it for life, and ids that only look like two."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from cache_schema.format.canonical import sha256_json


@dataclass(frozen=True, slots=True, order=True)
class VolumeKey:
    """Participant, session (empty when there is none) and volume id (remaining BIDS entities and suffix)."""

    participant_id: str
    session_id: str
    volume_id: str

    @property
    def digest(self) -> str:
        """SHA-256 of the key; stored objects are named by it and never by the key's text."""
        return sha256_json(self.as_list())

    def as_list(self) -> list[str]:
        """The three parts in order, the canonical form that digests are taken over."""
        return [self.participant_id, self.session_id, self.volume_id]

    def __str__(self) -> str:
        return "/".join(part for part in self.as_list() if part)


FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Characters that show nothing though their category does not say so."""


def folded_id(text: str) -> str:
    """An id as a person reads it: no invisible characters, no case, one way to write a letter.

    NFKC and casefold, twice since either may undo the other, on what is neither control, format character,
    variation selector nor white space at an end.

    Example:
        >>> folded_id("SUB-\uff10\uff11\u200b") == folded_id("sub-01")
        True
    """
    if text.isascii() and text.isprintable():
        return text.strip().casefold()
    seen = "".join(filter(_is_seen, text))
    for _ in range(2):
        seen = unicodedata.normalize("NFKC", seen).casefold()
    return "".join(filter(_is_seen, seen)).strip()


def _is_seen(letter: str) -> bool:
    if letter in FILLERS or "\ufe00" <= letter <= "\ufe0f" or "\U000e0100" <= letter <= "\U000e01ef":
        return False
    return unicodedata.category(letter) not in ("Cc", "Cf")


def twins(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """Ids that differ as text and not to the eye, in groups; print them with `!r`.

    Example:
        >>> twins(["sub-01", "SUB-01", "sub-02", "sub-02"])
        [('SUB-01', 'sub-01')]
    """
    groups: dict[str, set[str]] = {}
    for name in ids:
        groups.setdefault(folded_id(name), set()).add(name)
    return [tuple(sorted(group)) for group in groups.values() if len(group) > 1]
