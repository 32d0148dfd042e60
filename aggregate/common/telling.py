"""Whose page is made where there is none for everybody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from aggregate.common.niivue import viewer_source
from cache_schema.common.errors import ConfigError

SHOWN = 12
"""Participants who get a page, unless it is said how many."""


@dataclass(frozen=True, slots=True)
class PeopleShown:
    """Who is shown one by one, and how."""

    pages: int | Literal["all"] | None = None
    """Participants who get a page; None for `SHOWN`."""
    viewer: bool = False
    """Whether there is a viewer of their images and maps."""

    def of(self, everybody: int) -> int:
        """How many of so many people."""
        return (
            everybody if self.pages == "all" else min(everybody, SHOWN if self.pages is None else self.pages)
        )


TELLING = PeopleShown()
"""The most telling participants, without a viewer."""


def read_people(pages: str | None, viewer: bool) -> PeopleShown:
    """What `--pages` and `--viewer` were given.

    Raises:
        ConfigError: If pages are neither a number nor `all`, or what the viewer is made of is not installed.
    """
    if viewer:
        viewer_source()
    if pages is None or pages == "all":
        return PeopleShown("all" if pages else None, viewer)
    if not (pages.isascii() and pages.isdecimal() and len(pages) < 8):
        raise ConfigError(f"--pages takes a number of participants or 'all', not {pages!r}")
    return PeopleShown(int(pages), viewer)


def most_telling(by_reason: Mapping[str, Sequence[str]], most: int) -> dict[str, str]:
    """Participants and why they are shown: the first of every reason, then the second of each, and so on.

    Args:
        by_reason: Participants by why one would look at them, the most telling first.
        most: How many.

    Example:
        >>> most_telling({"highest": ["a", "b"], "missed": ["a", "c"]}, 3)
        {'a': 'highest', 'c': 'missed', 'b': 'highest'}
    """
    found: dict[str, str] = {}
    for row in zip_longest(*by_reason.values()):
        for reason, name in zip(by_reason, row, strict=True):
            if name is not None and name not in found and len(found) < most:
                found[name] = reason
    return found
