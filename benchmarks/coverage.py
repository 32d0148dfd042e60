"""How often the interval of an AUROC misses the true one, from guessing to nearly perfect.

    python benchmarks/coverage.py --cohorts 1000 --json coverage.json

*Ours* is the software's; *cut* is the same t interval, cut at 1. The true AUROC is the mean over all cohorts.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from made_up_cohorts import FOLDS, divide, draw, fold_aurocs, out_of_fold
from threadpoolctl import threadpool_limits

from aggregate.statistics.corrected import SHARED_PAIRS, corrected_interval

SHIFTS = (0.0, 0.87, 1.27, 1.8, 2.5, 3.5)
"""Distances of the class means in standard deviations."""


def measure(n: int, positives: int, shift: float, cohorts: int, repeats: int) -> dict[str, Any]:
    """Misses of both intervals, among the cohorts whose folds have any spread."""
    division, kept = divide(n, positives), repeats * FOLDS
    sizes = division.n_train[:kept], division.n_test[:kept]
    draws = (draw(division.y, (shift,), np.random.default_rng([7, seed])) for seed in range(cohorts))
    values = np.array([fold_aurocs(out_of_fold(x, division), division)[0, :kept] for x in draws])
    truth, missed = float(values.mean()), {"ours": 0, "cut": 0}
    some = 0
    for own in values:
        ours = corrected_interval(own, *sizes, bounds=(0.0, 1.0), overlap=SHARED_PAIRS)
        plain = corrected_interval(own, *sizes, overlap=SHARED_PAIRS)
        if np.isnan(ours.low):
            continue
        some += 1
        missed["ours"] += not ours.low <= truth <= ours.high
        missed["cut"] += not plain.low <= truth <= min(plain.high, 1.0)
    rates = {name: count / some for name, count in missed.items()}
    return {"n": n, "repeats": repeats, "truth": truth, **rates, "no spread": 1 - some / cohorts}


def main() -> None:
    """Print a row per setting, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    found = []
    with threadpool_limits(1):
        for n, positives in ((50, 20), (100, 50)):
            for repeats in (10, 1):
                for shift in SHIFTS:
                    found.append(measure(n, positives, shift, given.cohorts, repeats))
                    row = (
                        f"{value:.3f}" if isinstance(value, float) else value for value in found[-1].values()
                    )
                    print(*found[-1], *row, flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
