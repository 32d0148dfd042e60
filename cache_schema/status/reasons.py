"""Why volumes failed: their reasons, those that differ in numbers alone counted together."""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import get_all
from cache_schema.store.commit import parse_failure

MOST = 10_000
"""Failures that are read at one look."""
LONGEST = 1000
"""Characters of a reason."""
UNREADABLE = "(what was noted cannot be read)"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def reasons_of(objects: Objects, names: Sequence[str]) -> list[tuple[str, int]]:
    """Reasons with how many volumes have them, the most frequent first."""
    reasons: list[str] = []
    for name, data in get_all(objects, names[:MOST], lenient=True):
        if data is None:
            continue  # committed meanwhile
        reason = UNREADABLE
        with suppress(StoreError):
            reason = parse_failure(data, name).reason[:LONGEST]
        reasons.append(reason)
    return grouped(reasons)


def grouped(reasons: Sequence[str]) -> list[tuple[str, int]]:
    """Equal reasons together; numbers that differ become `#`."""
    groups: dict[str, Counter[str]] = {}
    for reason in reasons:
        groups.setdefault(NUMBER.sub("#", reason), Counter())[reason] += 1
    found = [(next(iter(group)) if len(group) == 1 else key, group.total()) for key, group in groups.items()]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))
