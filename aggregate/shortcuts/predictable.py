"""Can the embedding tell the site? Logistic regression on mean-pooled tokens, out of fold.

What a linear classifier can read off the mean token any head can read; that it cannot is no proof of the
opposite, and the sentences do not say so.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aggregate.cohort.folds import deal
from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_interval
from aggregate.statistics.metrics import GUESSING, Scores, measure
from aggregate.training.solving.logistic import one_thread, solve

N_FOLDS = 5
STRENGTH = 1e-2
"""Inverse penalty. It is not chosen: whether sites can be told apart hardly depends on it, and choosing
takes fifteen times as long."""
MOST = 1000
"""Participants; of more as many are drawn, so that a large cohort takes no longer."""
SHOWN = ("auroc", "balanced_accuracy")


def predict_site(
    x: Floats, site: Ints, seed: int = 0, harmonised: Callable[[Ints], Floats] | None = None
) -> dict[str, Any]:
    """How well the site is told by participants' vectors.

    Args:
        x: Mean-pooled tokens (participant, dim).
        site: Index of the site, each with at least as many participants as folds (participant,).
        seed: Of the folds.
        harmonised: Gives all rows as they are when some of them were learnt from; by default as they are.

    Returns:
        `auroc` (macro for several sites) and `balanced_accuracy` with corrected intervals, `guessing` (what
        these are when nothing can be told), `n_participants`, `n_sites` and `told`: whether the interval of
        AUROC lies above guessing.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    kept = np.arange(len(site)) if len(site) <= MOST else _draw(site, generator)
    site = site[kept]
    n_sites, hands = int(site.max()) + 1, deal(site, N_FOLDS, generator)
    found: list[dict[str, float]] = []
    sizes: list[tuple[int, int]] = []
    for hand in range(N_FOLDS):
        inside, out = hands != hand, hands == hand
        z = (x if harmonised is None else harmonised(kept[inside]))[kept]
        with one_thread():
            fit = solve(z[inside], site[inside], np.ones(int(inside.sum())), n_sites, STRENGTH)
        found.append(measure(Scores((), site[out], fit.log_probabilities(z[out]))))
        sizes.append((int(inside.sum()), int(out.sum())))
    n_train, n_test = np.array(sizes, dtype=np.float64).T
    rows = {
        name: corrected_interval(
            np.array([one[name] for one in found]), n_train, n_test, bounds=(0.0, 1.0), overlap=SHARED_PAIRS
        )
        for name in SHOWN
    }
    auroc = rows["auroc"]
    # Folds without spread have no interval; that all of them are perfect says enough.
    told = auroc.low > GUESSING or (np.isnan(auroc.low) and auroc.value == 1)
    return {
        **{name: interval.as_json() for name, interval in rows.items()},
        "guessing": {"auroc": GUESSING, "balanced_accuracy": 1 / n_sites},
        "n_participants": len(site),
        "n_sites": n_sites,
        "told": bool(told),
    }


def _draw(site: Ints, generator: np.random.Generator) -> Ints:
    """Some participants, of every site its share and at least as many as there are folds."""
    found = []
    for index in np.unique(site):
        own = generator.permutation(np.flatnonzero(site == index))
        found.append(own[: max(N_FOLDS, round(MOST * len(own) / len(site)))])
    return np.sort(np.concatenate(found))
