"""Ids as they are compared: without prefixes, with zeros, visit codes translated."""

import re
from collections.abc import Sequence

from aggregate.cohort.table.join_spec import IdsSpec

NUMBER = re.compile(r"\d+")


def bare(name: str, prefixes: Sequence[str]) -> str:
    """An id without its prefixes, each taken off at most once, in whatever order they stand."""
    left = [prefix for prefix in prefixes if prefix]
    while found := next((prefix for prefix in left if name.startswith(prefix)), None):
        name = name.removeprefix(found)
        left.remove(found)
    return name


def padded(name: str, width: int | None) -> str:
    """An id whose numbers have at least so many digits."""
    return name if width is None else NUMBER.sub(lambda found: found[0].zfill(width), name)


def plain_participant(spec: IdsSpec, name: str) -> str:
    """A participant's id as it is compared."""
    counted = bare(name, [*spec.strip_prefix, "sub-"]).translate(
        {ord(letter): None for letter in spec.ignore}
    )
    return padded(counted, spec.pad.participant)


def plain_session(spec: IdsSpec, name: str) -> str:
    """A session's id as it is compared."""
    return padded(bare(name, ["ses-"]), spec.pad.session)


def session_of_visit(spec: IdsSpec, code: str) -> str:
    """The session that a visit code of a table means, as it is compared; exact codes come before `*`."""
    if code in spec.visits:
        return plain_session(spec, spec.visits[code])
    for pattern, session in spec.visits.items():
        before, star, after = pattern.partition("*")
        found = re.fullmatch(f"{re.escape(before)}([0-9]+){re.escape(after)}", code) if star else None
        if found is not None:
            return plain_session(spec, session.replace("*", found[1]))
    return plain_session(spec, code)
