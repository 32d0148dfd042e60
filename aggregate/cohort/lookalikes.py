"""Ids that did not match and look as if they should: zeros that a spreadsheet dropped, case, separators."""

import re
from collections.abc import Callable, Mapping, Sequence

from aggregate.cohort.table.ids import NUMBER, padded
from aggregate.cohort.table.join import Pair
from cache_schema.format.identity import folded_id
from cache_schema.words.yaml_words import in_line

MOST_DIGITS = 32
"""That `pad` takes."""
PREFIX = re.compile("^(sub|ses)[-_ ]*")


def without_zeros(text: str) -> str:
    """`02`, `2` and `2.0` are one."""
    return NUMBER.sub(lambda found: str(int(found[0])), text.removesuffix(".0"))


def without_separators(text: str) -> str:
    """Letters and digits alone, in one case."""
    return "".join(filter(str.isalnum, folded_id(text)))


RULES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("leading zeros", without_zeros),
    ("upper and lower case, or characters that cannot be seen", folded_id),
    ("separators", without_separators),
    ("separators and leading zeros", lambda text: without_zeros(without_separators(text))),
)
"""In what ids may differ for no reason; the first of those that explain most is told."""


def lookalikes_of(store: Sequence[Pair], table: Sequence[Pair], name: str) -> str:
    """What would match if ids were written alike on both sides.

    Args:
        store: Participant and session of volumes without a row.
        table: Of rows without a volume.
        name: Of the table's file.

    Returns:
        A sentence with the rule, an example and what to do; empty where no rule explains anything.
    """
    found = [(what, matched(store, table, rule)) for what, rule in RULES]
    what, pairs = max(found, key=lambda item: len(item[1]))
    if not pairs:
        return ""
    ours, theirs = pairs[0]
    widths = {len(digits) for pair, _ in pairs for digits in NUMBER.findall(pair[0])}
    digits = f" with {widths.pop()} digits" if "zeros" in what and len(widths) == 1 else ""
    pad = pad_that_helps(pairs)
    several = f"{len(pairs)} volumes and rows" if len(pairs) > 1 else "a volume and a row"
    return (
        f"{several} are left out whose ids differ in {what} only: {_shown(ours)} in the store is "
        f"{_shown(theirs)} in {name}; write the ids of {name} as text{digits}, as the store has them"
        + (f", or say join: {{{pad_words(pad).removesuffix(', ')}}}" if pad else "")
    )


def pad_that_helps(pairs: Sequence[tuple[Pair, Pair]]) -> dict[str, int]:
    """What `pad` must say for ids of the store to be those of the table; empty where it does not help.

    Args:
        pairs: Of the store and of the table, that are meant to be one.
    """
    widths: dict[str, int] = {}
    for place, role in enumerate(("participant", "session")):
        ids = [(ours[place], theirs[place]) for ours, theirs in pairs]
        if all(ours == theirs for ours, theirs in ids):
            continue
        width = max(
            (len(digits) for pair in ids for each in pair for digits in NUMBER.findall(each)), default=0
        )
        if width > MOST_DIGITS or any(padded(ours, width) != padded(theirs, width) for ours, theirs in ids):
            return {}
        widths[role] = width
    return widths


def pad_words(pad: Mapping[str, int]) -> str:
    """`pad: 2, ` of the participant alone; empty without a width."""
    short = pad["participant"] if list(pad) == ["participant"] else dict(pad)
    return f"pad: {in_line(short)}, " if pad else ""


def matched(
    store: Sequence[Pair], table: Sequence[Pair], rule: Callable[[str], str]
) -> list[tuple[Pair, Pair]]:
    """Pairs of both sides that a rule makes one, where it makes no two of one side one."""
    ours, theirs = _by_rule(store, rule), _by_rule(table, rule)
    return [
        (ours[key][0], theirs[key][0])
        for key in ours
        if key in theirs and len(ours[key]) == len(theirs[key]) == 1
    ]


def _by_rule(pairs: Sequence[Pair], rule: Callable[[str], str]) -> dict[Pair, list[Pair]]:
    groups: dict[Pair, list[Pair]] = {}
    for pair in dict.fromkeys(pairs):
        groups.setdefault((_plain(rule(pair[0])), _plain(rule(pair[1]))), []).append(pair)
    return groups


def _plain(text: str) -> str:
    """Without BIDS's prefix, which the join takes off where it is written as it should be."""
    return PREFIX.sub("", text)


def _shown(pair: Pair) -> str:
    return repr(" ".join(part for part in pair if part))
