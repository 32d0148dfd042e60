"""Why no volume found a row: how both sides look, and the words of `join:` by which they would meet."""

from collections.abc import Iterable, Mapping, Sequence

from aggregate.cohort.lookalikes import lookalikes_of, matched, pad_that_helps, pad_words, without_zeros
from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.ids import NUMBER
from aggregate.cohort.table.join import Join, Pair
from aggregate.common.table_values import listed
from cache_schema.format.identity import VolumeKey
from cache_schema.words.yaml_words import in_line

USUAL = "join: can rename columns, strip prefixes and map visits"
SHOWN = 8
"""Visit codes that are mapped in a sentence."""


def no_match(keys: Sequence[VolumeKey], pairs: Sequence[Pair], table: CohortTable, join: Join) -> str:
    """The sentence for a store and a table that have nobody in common.

    Args:
        keys: Of all volumes.
        pairs: Of the table's rows, as they are compared.
        table: As narrowed by `where`.
        join: Of both.
    """
    volumes = [join.of_key(key) for key in keys]
    name, on = table.path.name, join.spec.participant
    visits = list(table.text[join.session]) if join.session else []
    advice = lookalikes_of(volumes, pairs, name) or _called_otherwise(volumes, pairs, visits, name) or USUAL
    return (
        f"no volume of the store matches a row of {name} (joined on {on}"
        f"{f', {join.session}' if join.session else ''}): the table has {_examples(pairs)}; the store has "
        f"{_examples(volumes)}; {advice}"
    )


def _examples(items: Sequence[Pair]) -> str:
    unique = list(dict.fromkeys(" ".join(part for part in item if part) for item in items))
    return listed(unique, 3) or "nothing"


def _called_otherwise(store: Sequence[Pair], table: Sequence[Pair], visits: Sequence[str], name: str) -> str:
    """What would match if sessions were called alike; empty where participants do not match either.

    Args:
        store: Of volumes.
        table: Of rows.
        visits: The rows' visit codes as they are written; none where sessions play no part.
        name: Of the table's file.
    """
    people = [(person, "") for person, _ in store]
    same = matched(people, [(person, "") for person, _ in table], without_zeros)
    pad = pad_that_helps(same)
    both = {each[0] for ours, theirs in same if pad or ours == theirs for each in (ours, theirs)}
    words = _words(visit for visit, (person, _) in zip(visits, table, strict=False) if person in both)
    sessions = _words(session for person, session in store if person in both)
    if not words or not sessions:
        return ""
    found = _by_number(words, sessions)
    otherwise = f"{'ids differ in leading zeros, and ' if pad else ''}sessions are called otherwise"
    if not found:
        return (
            f"{otherwise} ({listed(words, 3)} in {name}, {listed(sessions, 3)} in the store); where they are "
            f"the same, say join: {{{pad_words(pad)}visits: {{CODE OF {name}: SESSION OF THE STORE}}}}"
        )
    told = dict(list(found.items())[:SHOWN])
    word, session = next(iter(told.items()))
    return (
        f"{otherwise}: if {word!r} of {name} is {session!r} of the store, say join: "
        f"{{{pad_words(pad)}visits: {in_line(told)}}}{', and so on' if len(found) > len(told) else ''}"
    )


def _words(found: Iterable[str]) -> list[str]:
    """Each once, without the empty one."""
    return list(dict.fromkeys(filter(None, found)))


def _by_number(words: Sequence[str], sessions: Sequence[str]) -> Mapping[str, str]:
    """Code -> session of the same number, where both sides have one each; none at all counts as 0."""
    ours, theirs = _numbered(sessions), _numbered(words)
    return {
        theirs[number][0]: ours[number][0]
        for number in theirs
        if len(theirs[number]) == len(ours.get(number, [])) == 1
    }


def _numbered(words: Sequence[str]) -> dict[int, list[str]]:
    groups: dict[int, list[str]] = {}
    for word in words:
        found = NUMBER.search(word)
        groups.setdefault(int(found[0]) if found else 0, []).append(word)
    return groups
