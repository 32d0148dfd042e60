"""With which arithmetic volumes were computed, where a store holds several: a possible shortcut."""

from collections import Counter
from collections.abc import Sequence

from cache_schema.common.text.counts import counted
from cache_schema.format.header import Header, told_apart
from cache_schema.format.record import VolumeRecord

ARITHMETIC = "numerics"
"""The column of the acquisition; only mixed stores have it."""


def arithmetic_of(records: Sequence[VolumeRecord], header: Header) -> list[str]:
    """Each volume's numerics, as far as those of its store differ: `compute_dtype bfloat16`."""
    words = told_apart((header.numerics, *header.other_numerics))
    return [words[record.numerics or header.numerics] for record in records]


def mixed_numerics(records: Sequence[VolumeRecord], header: Header) -> tuple[str, ...]:
    """A warning when the tokens of a cohort were computed with several arithmetics."""
    if not header.other_numerics:
        return ()
    counts = Counter(arithmetic_of(records, header))
    if len(counts) < 2:
        return ()
    told = ", ".join(f"{name} ({counted(n, 'volume')})" for name, n in sorted(counts.items()))
    return (
        f"the cohort mixes numerics: {told}; where the label goes with the arithmetic a head may learn that, "
        "so scanner only has it too",
    )
