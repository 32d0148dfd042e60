"""Which configurations the report draws the scores of."""

from collections.abc import Sequence

import numpy as np

from aggregate.ablate.findings.compare import Comparison, Row
from aggregate.config.ablate import NESTED

MOST = 5
"""Configurations that are drawn together: of more nothing is seen."""


def told_configurations(reference: str, rows: Sequence[Row], primary: Sequence[Comparison]) -> list[str]:
    """What was named beforehand, in its order; else what inner folds chose, or the best of the table.

    The reference is always among them.
    """
    names = [name for one in primary for name in (one.a, one.b)]
    if not names:
        chosen = [row.name for row in rows if row.name == NESTED]
        known = [row for row in rows if not np.isnan(row.judged.value)]
        best = max(known, key=lambda row: row.primary.gain(row.judged.value), default=None)
        names = chosen or ([] if best is None else [best.name])
    return list(dict.fromkeys([*names[: MOST - 1], reference]))
