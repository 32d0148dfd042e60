"""How often each test finds what is not there: its rate over made-up cohorts, at a nominal 0.05.

    python benchmarks/null_cohorts.py --cohorts 1000 --json null_cohorts.json

Ours are the software's own functions; beside them what others do. Five configurations (a reference and
four others), five folds, ten repeats. *Null* rows should be at 0.05 or below; the same tests where there
is something to find give their power.
"""

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from null_tests import TESTS, look
from scipy import stats
from threadpoolctl import threadpool_limits

PORTION = 25
"""Cohorts that one process looks at before it takes more."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A size of cohort, and what its configurations can see."""

    n: int
    positives: int
    shifts: tuple[float, ...] = (0.0,) * 5
    common: bool = False
    what: str = "nothing to find"

    @property
    def null(self) -> frozenset[str]:
        """Questions whose answer is no.

        Equally good configurations give trained models that are not: only without any signal is every
        model worth the same.
        """
        useless, alike = not any(self.shifts), len(set(self.shifts)) == 1
        true = {"chance": useless, "models": useless, "equal": alike}
        return frozenset(name for name, holds in true.items() if holds)


GOOD, FAIR = (1.27,) * 5, (0.87,) * 5
SETTINGS = (
    Setting(50, 20),
    Setting(50, 20, GOOD, what="equal, AUROC about 0.75"),
    Setting(50, 20, GOOD, True, "equal, AUROC about 0.75, shared columns"),
    Setting(50, 20, FAIR, what="equal, AUROC about 0.65"),
    Setting(50, 20, (0.0, *GOOD[1:]), what="reference at chance, others about 0.75"),
    Setting(50, 20, (0.87, *(1.8,) * 4), what="reference about 0.65, others about 0.85"),
    Setting(40, 12),
    Setting(40, 12, GOOD, what="equal, AUROC about 0.75"),
    Setting(60, 30),
    Setting(60, 30, GOOD, what="equal, AUROC about 0.75"),
    Setting(120, 36),
    Setting(120, 36, GOOD, what="equal, AUROC about 0.75"),
)
"""The first two are what the tests in `tests/` look at."""


def portion(setting: Setting, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """What every test says of some cohorts."""
    with threadpool_limits(1):
        return [look(setting.n, setting.positives, setting.shifts, setting.common, seed) for seed in seeds]


def rate(found: Sequence[bool]) -> dict[str, Any]:
    """Share of cohorts with its exact 95 % binomial interval (Clopper and Pearson)."""
    hits = int(np.sum(found))
    interval = stats.binomtest(hits, len(found)).proportion_ci(method="exact")
    return {"rate": hits / len(found), "low": float(interval.low), "high": float(interval.high)}


def summarise(setting: Setting, looks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rates of all tests in one setting."""
    rows = []
    for test in TESTS:
        found = rate([look[test.name] for look in looks])
        rows.append({"test": test.name, "ours": test.ours, "null": test.question in setting.null, **found})
    means = {name: float(np.mean([look[name] for look in looks])) for name in ("auroc", "auroc_pooled")}
    return {"setting": asdict(setting), "cohorts": len(looks), **means, "tests": rows}


def table(found: dict[str, Any]) -> str:
    """Markdown of one setting."""
    setting = found["setting"]
    lines = [
        f"### {setting['n']} participants, {setting['positives']} positive: {setting['what']}",
        f"{found['cohorts']} cohorts; mean AUROC within folds {found['auroc']:.3f}, "
        f"pooled {found['auroc_pooled']:.3f}",
        "",
        "| test | ours | null | rate (95 % interval) |",
        "|---|---|---|---|",
    ]
    for row in found["tests"]:
        marks = ["yes" if row[name] else "" for name in ("ours", "null")]
        shown = f"{row['rate']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
        lines.append(f"| {row['test']} | {marks[0]} | {marks[1]} | {shown} |")
    return "\n".join([*lines, ""])


def measure(settings: Sequence[Setting], cohorts: int, workers: int) -> list[dict[str, Any]]:
    """All settings, one after another, printing each."""
    found = []
    portions = [range(start, min(start + PORTION, cohorts)) for start in range(0, cohorts, PORTION)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for setting in settings:
            start = time.perf_counter()
            parts = pool.map(portion, [setting] * len(portions), portions)
            found.append(summarise(setting, [look for part in parts for look in part]))
            found[-1]["seconds"] = time.perf_counter() - start
            print(table(found[-1]), flush=True)
    return found


def main() -> None:
    """Print a table per setting, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="only the first so many")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    found = measure(SETTINGS[: given.settings], given.cohorts, given.workers)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
