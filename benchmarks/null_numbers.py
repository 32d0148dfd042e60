"""Cohorts of numbers with nothing to find: how often the two-sided 5 % test finds something.

`python benchmarks/null_numbers.py --cohorts 200` compares by MAE, over 5 folds x 4 repeats: two ridges of
eight columns of noise each, which are of equal worth, and ridge on all columns, its penalty chosen inside,
with what says the same of everybody, than which it can only be worse.
"""

import argparse

import numpy as np
from scipy import stats

from aggregate.cohort.folds import deal
from aggregate.cohort.task import Metric
from aggregate.common.arrays import Floats
from aggregate.statistics.evaluate import Measured, compare
from aggregate.statistics.numbers import NUMBERS, number_metrics
from aggregate.targets.regression import NumberGoal, Regression

FOLDS, REPEATS, DIM = 5, 4, 64
ERROR: Metric = NUMBERS[0]
EIGHTS = {"eight": slice(0, 8), "eight others": slice(8, 16)}
"""Columns of two models that know equally little."""


def predictions(x: Floats, y: Floats, train: Floats, test: Floats, strata: Floats) -> dict[str, Floats]:
    """By row of the table, what it says of the test part."""
    goal, weight, people = NumberGoal(), np.ones(len(train)), np.arange(len(train))
    ridge = goal.solve(x[train], y[train], weight, people, strata[train])
    found = {"ridge": ridge.outputs(x[test])[:, 0]}
    for name, columns in EIGHTS.items():
        own = goal.fit(x[train][:, columns], y[train], weight)
        found[name] = own.outputs(x[test][:, columns])[:, 0]
    return {
        **found,
        "constant": np.full(len(test), y[train].mean()),
    }


def measured(stream: np.random.Generator, n: int) -> dict[str, Measured]:
    """One cohort, cross-validated as a study is."""
    x, y = stream.normal(size=(n, DIM)), stream.normal(60, 10, n)
    strata = Regression().stratify(y[:, None], np.arange(n))[0]
    values: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        hands = deal(strata, FOLDS, stream)
        for fold in range(FOLDS):
            train, test = np.flatnonzero(hands != fold), np.flatnonzero(hands == fold)
            for name, said in predictions(x, y, train, test, strata).items():
                values.setdefault(name, []).append(number_metrics(y[test], said)[ERROR.name])
    sizes = np.full(FOLDS * REPEATS, n * (1 - 1 / FOLDS)), np.full(FOLDS * REPEATS, n / FOLDS)
    return {name: Measured(name, {ERROR.name: np.array(v)}, *sizes, ERROR) for name, v in values.items()}


def main() -> None:
    """Print a line per size and pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[40, 120])
    asked = parser.parse_args()
    band = stats.binom.interval(0.99, asked.cohorts, 0.05)
    for n in asked.sizes:
        pairs = {("eight", "eight others"): [0, 0], ("ridge", "constant"): [0, 0]}
        for cohort in range(asked.cohorts):
            found = measured(np.random.default_rng([n, cohort]), n)
            for (ours, other), counts in pairs.items():
                told = compare(found[ours], found[other])
                if told is not None and told["p"] is not None and told["p"] < 0.05:
                    counts[int(ERROR.gain(told["difference"]) > 0)] += 1
        for (ours, other), (worse, better) in pairs.items():
            print(f"n = {n}, {ours} against {other}: {better} better, {worse} worse of {asked.cohorts}; "
                  f"band of both together {band[0]:.0f} to {band[1]:.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
