"""How strongly the label goes with the site."""

from typing import Any

import numpy as np

from aggregate.common.arrays import Floats
from aggregate.statistics.permutation import permutation_p

DRAWS = 999


def association(counts: Floats, seed: int = 0) -> dict[str, Any] | None:
    """Cramér's V of participants by site and label, with a permutation p.

    V is corrected for its bias (Bergsma, Journal of the Korean Statistical Society 2013): with few
    participants per cell the plain one is well above 0 where nothing goes together. With
    `phi2 = max(0, chi2 / n - (r - 1)(c - 1) / (n - 1))`, `r' = r - (r - 1)^2 / (n - 1)` and `c'` likewise,
    `V = sqrt(phi2 / min(r' - 1, c' - 1))`. p counts the tables of the same margins, drawn as if labels were
    dealt to the participants anew, with a chi-square at least as large.

    Args:
        counts: Participants (site, label); rows and columns of nobody count as absent.
        seed: Of the draws.

    Returns:
        `cramers_v` and `p`; None with fewer than two sites or labels.
    """
    table = np.asarray(counts, dtype=np.float64)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return None
    from scipy.stats import random_table

    rows, columns, n = table.sum(axis=1), table.sum(axis=0), float(table.sum())
    expected = np.outer(rows, columns) / n
    observed = float(((table - expected) ** 2 / expected).sum())
    drawn = random_table(rows.astype(np.int64), columns.astype(np.int64)).rvs(
        DRAWS, random_state=np.random.Generator(np.random.PCG64(seed))
    )
    chance = ((drawn - expected) ** 2 / expected).sum(axis=(1, 2))
    r, c = table.shape
    phi2 = max(0.0, observed / n - (r - 1) * (c - 1) / (n - 1))
    smaller = min(s - (s - 1) ** 2 / (n - 1) for s in (r, c)) - 1
    v = float(np.sqrt(phi2 / smaller)) if smaller > 0 else 0.0
    # The same table drawn again may differ in the last digit.
    p = permutation_p(observed, (chance + 1e-9 * max(observed, 1.0)).tolist())
    return {"cramers_v": min(v, 1.0), "p": p}
