"""What ComBat by fold does to made-up cohorts of two sites: the site, a planted effect, and nothing.

    python benchmarks/harmonised.py --cohorts 400

Vectors of 24 numbers with the second site's shift and scale on them (and age's share, which is preserved).
The label goes with the site or not, and has an effect of its own or not. Everything is out of fold: sites
are learnt from training parts, and logistic regression of fixed strength tells label and site.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from aggregate.cohort.folds import deal
from aggregate.common.arrays import Floats, Ints
from aggregate.shortcuts.predictable import STRENGTH, predict_site
from aggregate.statistics.combat import fit_combat
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_interval
from aggregate.statistics.metrics import auroc
from aggregate.training.solving.logistic import solve

FOLDS, COLUMNS, SHIFT = 5, 24, 2.0
EFFECT = 1.0
"""Of the label in three numbers, in standard deviations between people."""


@dataclass(frozen=True, slots=True)
class People:
    """One made-up cohort."""

    y: Ints
    site: Ints
    age: Floats
    bare: Floats
    """Vectors without the site (participant, column)."""
    x: Floats
    """With it."""

    def harmonised(self, inside: Ints) -> Floats:
        """All vectors, sites learnt from some."""
        covariates = (self.age[:, None] - self.age[inside].mean()) / self.age[inside].std()
        found = fit_combat(self.x[inside], self.site[inside], covariates[inside])
        return found(self.x, self.site, covariates)


def recruit(n: int, association: float, effect: float, stream: np.random.Generator) -> People:
    """Half of them patients; of these `0.5 + association` are scanned at the second site."""
    y = np.arange(n, dtype=np.int64) % 2
    site = (stream.random(n) < 0.5 + association * (2 * y - 1)).astype(np.int64)
    age = stream.normal(66, 8, n)
    own = stream.standard_normal((n, COLUMNS)) + 0.04 * (age[:, None] - 66)
    own[:, :3] += effect * y[:, None]
    wide, shift = np.exp(0.3 * stream.standard_normal(COLUMNS)), SHIFT * stream.standard_normal(COLUMNS)
    x = np.where(site[:, None] == 1, own * wide + shift, own)
    return People(y, site, age, own, x)


def told(y: Ints, vectors: Callable[[Ints], Floats], seed: int) -> tuple[float, bool]:
    """Mean AUROC of the label out of fold, and whether its interval is off 0.5."""
    hands = deal(y, FOLDS, np.random.default_rng(seed))
    found, sizes = [], []
    for hand in range(FOLDS):
        inside, out = np.flatnonzero(hands != hand), np.flatnonzero(hands == hand)
        x = vectors(inside)
        fit = solve(x[inside], y[inside], np.ones(len(inside)), 2, STRENGTH)
        found.append(auroc(y[out], fit.log_probabilities(x[out])[:, 1]))
        sizes.append((len(inside), len(out)))
    train, test = np.array(sizes, dtype=np.float64).T
    interval = corrected_interval(np.array(found), train, test, bounds=(0.0, 1.0), overlap=SHARED_PAIRS)
    return interval.value, not interval.low <= 0.5 <= interval.high


def look(n: int, association: float, effect: float, seed: int) -> list[float]:
    """Site before and after; AUROC of the label without sites, as scanned, harmonised; which are off 0.5."""
    people = recruit(n, association, effect, np.random.default_rng([seed, n]))
    before = predict_site(people.x, people.site, seed)["auroc"]["value"]
    after = predict_site(people.x, people.site, seed, people.harmonised)["auroc"]["value"]
    rows = [
        told(people.y, vectors, seed)
        for vectors in (lambda _: people.bare, lambda _: people.x, people.harmonised)
    ]
    return [before, after, *(value for value, _ in rows), *(float(off) for _, off in rows)]


def main() -> None:
    """Print a row of Markdown per setting."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--sizes", type=int, nargs="+", default=[60, 120])
    given = parser.parse_args()
    for n in given.sizes:
        for association in (0.0, 0.3):
            for effect in (0.0, EFFECT):
                with threadpool_limits(1):
                    rows = [look(n, association, effect, seed) for seed in range(given.cohorts)]
                cells = [f"{value:.3f}" for value in np.mean(rows, axis=0)]
                print(f"| {n} | {association} | {effect} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
