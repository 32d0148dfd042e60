"""How often C, its tests and the log-rank test find what is not there: rates over empty survival cohorts.

    python benchmarks/null_survival.py --cohorts 1000 --json null_survival.json

Two configurations of 8 columns of noise each, Cox ridge as the software fits it; times are exponential,
observation ends at exponential times of its own. With `--hazard H` the first column of both multiplies the
hazard by exp(H) for each standard deviation: power in place of false positives.
"""

import argparse
import json
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy import stats
from threadpoolctl import threadpool_limits

from aggregate.cohort.folds import deal
from aggregate.cohort.table.matched import Matched
from aggregate.common.arrays import Floats
from aggregate.common.signed_times import signed_times, strata_of
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_interval, corrected_t_test
from aggregate.statistics.survival import c_index, log_rank
from aggregate.training.solving.cox import solve_cox

FOLDS, REPEATS, COLUMNS, LEVEL, STRENGTH = 5, 10, 8, 0.05, 0.1
SIZES = ((50, 0.6), (50, 0.3), (100, 0.5))
"""Participants, and the share of them whose event is seen."""


def draw(n: int, share: float, hazard: float, seed: int) -> tuple[Floats, Floats]:
    """Columns of two configurations (configuration, participant, column) and signed times."""
    generator = np.random.default_rng([n, round(100 * share), seed])
    x = generator.normal(size=(2, n, COLUMNS))
    x[1, :, 0] = x[0, :, 0]
    event = generator.exponential(np.exp(-hazard * x[0, :, 0]))
    end = generator.exponential(share / (1 - share), n)
    if not hazard:
        x[1, :, 0] = generator.normal(size=n)
    return x, signed_times(np.minimum(event, end), (event <= end).astype(np.int64))


def look(n: int, share: float, hazard: float, seed: int) -> Mapping[str, float]:
    """What every test says of one cohort: 1 where it finds something, and the mean C."""
    x, signed = draw(n, share, hazard, seed)
    values, sizes = np.zeros((2, REPEATS * FOLDS)), np.zeros((2, REPEATS * FOLDS))
    high, by = np.zeros(n, dtype=bool), Matched((), np.zeros(n, dtype=np.int64), signed)
    for repeat in range(REPEATS):
        hands = deal(strata_of(signed), FOLDS, np.random.default_rng([seed, repeat]), by)
        for fold in range(FOLDS):
            place, test = repeat * FOLDS + fold, hands == fold
            sizes[:, place] = (~test).sum(), test.sum()
            for own, found in zip(x, values, strict=True):
                model = solve_cox(own[~test], signed[~test], np.ones((~test).sum()), STRENGTH)
                risk = model.outputs(own)[:, 0]
                found[place] = c_index(signed[test], risk[test])
                if repeat == 0 and found is values[0]:
                    high[test] = risk[test] > np.median(risk[~test])
    rows = {}
    for name, span in (("", slice(None)), (" of one repeat", slice(FOLDS))):
        interval = corrected_interval(values[0, span], *sizes[:, span], bounds=(0, 1), overlap=SHARED_PAIRS)
        two = corrected_t_test(values[0, span] - values[1, span], *sizes[:, span], overlap=SHARED_PAIRS)
        rows[f"interval{name}"] = float(interval.low > 0.5 or interval.high < 0.5)
        rows[f"t-test of two{name}"] = float(two.p < LEVEL)
    rows["log-rank of out-of-fold groups"] = float(log_rank(signed[high], signed[~high]) < LEVEL)
    return {**rows, "mean C": float(np.nanmean(values[0]))}


def portion(n: int, share: float, hazard: float, seeds: range) -> list[Mapping[str, float]]:
    """Some cohorts on one thread."""
    with threadpool_limits(1):
        return [look(n, share, hazard, seed) for seed in seeds]


def main() -> None:
    """Print a table of rates with their exact 95 % intervals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=200)
    parser.add_argument("--hazard", type=float, default=0.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given, began, report = parser.parse_args(), time.perf_counter(), {}
    seeds = [range(start, min(start + 20, given.cohorts)) for start in range(0, given.cohorts, 20)]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for n, share in SIZES:
            parts = pool.map(partial(portion, n, share, given.hazard), seeds)
            rows = [row for part in parts for row in part]
            report[f"{n}, {share:.0%} events"] = {
                name: float(np.mean([r[name] for r in rows])) for name in rows[0]
            }
    for size, rates in report.items():
        print(f"\n{size} ({given.cohorts} cohorts)")
        for name, rate in rates.items():
            low, high = stats.binomtest(round(rate * given.cohorts), given.cohorts).proportion_ci()
            print(f"  {name:34} {rate:.3f}" + ("" if name == "mean C" else f" ({low:.3f}-{high:.3f})"))
    print(f"\n{time.perf_counter() - began:.0f} s")
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
