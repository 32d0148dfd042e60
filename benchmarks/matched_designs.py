"""What a design that matches sex, site or age does to cross-validation: rates over empty cohorts.

    python benchmarks/matched_designs.py --cohorts 1000 --json matched_designs.json

Nothing tells the classes apart in any cohort. "Confounds only" is logistic regression on sex, site and age
as the software fits it; one head sees noise, another noise and traces of sex and site, as tokens of a brain
would show. Folds are dealt by label alone, or as the software deals them (`matched`): by what is matched
too. Comparisons are plain paired tests and the software's own (`compare`).
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from made_up_cohorts import Division, fold_aurocs, out_of_fold
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from aggregate.cohort.folds import deal
from aggregate.cohort.table.matched import Matched, find_matched
from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_interval, corrected_t_test
from aggregate.statistics.evaluate import Measured, compare

FOLDS, REPEATS, COLUMNS, LEVEL = 5, 10, 8, 0.05
DESIGNS = ("unmatched", "sex and site", "sex", "sex, site and age")
DEALT = ("label", "matched")
TRACE = 2.0
"""Of a trait in the tokens, in standard deviations of their noise times 0.3."""


@dataclass(frozen=True, slots=True)
class People:
    """One made-up cohort."""

    y: Ints
    sex: Ints
    site: Ints
    age: Floats


def recruit(design: str, n: int, generator: np.random.Generator) -> People:
    """Half of them patients; what the design does not match is drawn."""
    half = n // 2
    pair = np.arange(half)
    sex, site, age = (pair // 3) % 2, pair % 3, generator.normal(66, 8, half)
    matched = {
        "sex": np.tile(sex, 2) if "sex" in design else generator.integers(0, 2, n),
        "site": np.tile(site, 2) if "site" in design else generator.integers(0, 3, n),
        "age": np.tile(age, 2) if "age" in design else generator.normal(66, 8, n),
    }
    order = generator.permutation(n)
    years = matched["age"] + generator.normal(0, 1, n)
    return People(np.repeat([0, 1], half)[order], matched["sex"][order], matched["site"][order], years[order])


def divide(people: People, dealt: str, seed: int) -> Division:
    """Repeated folds by the software's `deal`, others for every cohort."""
    found: Matched | None = None
    if dealt == "matched":
        words = {"sex": np.array(["F", "M"])[people.sex], "site": np.array(["a", "b", "c"])[people.site]}
        traits = {name: pd.Series(values) for name, values in (words | {"age": people.age}).items()}
        found = find_matched(traits, people.y)
    hands = [deal(people.y, FOLDS, np.random.default_rng([seed, r]), found) for r in range(REPEATS)]
    return Division(people.y, np.stack(hands))


def logistic(x: Floats, y: Ints, rows: NDArray[np.bool_]) -> Floats:
    """Logits (fit, participant) of the baselines' logistic regression: C = 1, standardised, by Newton.

    Args:
        x: (participant, column)
        y: (participant,)
        rows: Who is trained on (fit, participant).
    """
    inside = rows / rows.sum(axis=1, keepdims=True)
    mean = inside @ x
    sd = np.sqrt(np.maximum(inside @ x**2 - mean**2, 0))[:, None]
    z = np.where(sd > 1e-9, (x - mean[:, None]) / np.where(sd > 1e-9, sd, 1), 0)
    z = np.concatenate([np.ones((*z.shape[:2], 1)), z], axis=-1)
    penalty = np.eye(z.shape[-1])
    penalty[0, 0] = 1e-9
    w = np.zeros((len(rows), z.shape[-1]))
    for _ in range(8):
        p = 1 / (1 + np.exp(-np.einsum("fnk,fk->fn", z, w)))
        slope = np.einsum("fnk,fn->fk", z, rows * (p - y)) + w @ penalty
        curve = np.swapaxes(z * (rows * p * (1 - p))[..., None], 1, 2) @ z + penalty
        w -= np.linalg.solve(curve, slope[..., None])[..., 0]
    return np.einsum("fnk,fk->fn", z, w)


def confounds_only(people: People, division: Division) -> Floats:
    """AUROC (repeat x fold,) of sex, site and age."""
    x = np.concatenate([np.eye(2)[people.sex], np.eye(3)[people.site], people.age[:, None]], axis=1)
    every = logistic(x, people.y, division.outside).reshape(REPEATS, FOLDS, -1)
    return fold_aurocs(np.take_along_axis(every, division.hands[:, None], axis=1)[:, 0], division)


def heads(people: People, division: Division, generator: np.random.Generator) -> Floats:
    """AUROC (head, repeat x fold) of one that sees noise, and one that sees traces of sex and site too."""
    x = generator.standard_normal((2, len(people.y), COLUMNS))
    traces = np.stack([people.sex, people.site == 0, people.site == 1], axis=1)
    x[1, :, :3] = TRACE * traces + 0.3 * x[1, :, :3]
    return fold_aurocs(out_of_fold(x, division), division)


def side(difference: float | None, p: float | None) -> int:
    """-1 below, 1 above, 0 not shown to differ."""
    return int(np.sign(difference)) if difference is not None and p is not None and p <= LEVEL else 0


def look(design: str, n: int, dealt: str, seed: int, repeats: int = REPEATS) -> dict[str, float]:
    """What every test says of one cohort, and the mean AUROC of its rows."""
    generator = np.random.default_rng([seed, n])
    people = recruit(design, n, generator)
    division = divide(people, dealt, seed)
    base, found = confounds_only(people, division), heads(people, division, generator)
    kept = repeats * FOLDS
    sizes = division.n_train[:kept], division.n_test[:kept]
    rows = dict(zip(("confounds", "noise", "traces"), (v[:kept] for v in (base, *found)), strict=True))
    said: dict[str, float] = {f"auroc {name}": float(values.mean()) for name, values in rows.items()}
    measured = {name: Measured(name, {"auroc": values}, *sizes) for name, values in rows.items()}
    for name, values in rows.items():
        own = corrected_interval(values, *sizes, bounds=(0.0, 1.0), overlap=SHARED_PAIRS)
        said[f"{name}, interval and 0.5"] = int(own.low > 0.5) - int(own.high < 0.5)
        if name != "confounds":
            plain = corrected_t_test(values - rows["confounds"], *sizes, overlap=SHARED_PAIRS)
            ours = compare(measured[name], measured["confounds"]) or {}
            said[f"{name} and confounds, plain"] = side(plain.difference, plain.p)
            said[f"{name} and confounds, ours"] = side(ours.get("difference"), ours.get("p"))
    return said


def summarise(looks: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Mean AUROC by row, and rejections (below, above) by test."""
    found: dict[str, Any] = {}
    for name in looks[0]:
        values = np.array([own[name] for own in looks])
        rejected = [float(np.mean(values < 0)), float(np.mean(values > 0))]
        found[name] = float(values.mean()) if name.startswith("auroc") else rejected
    return found


def measure(
    designs: Sequence[str], cohorts: int, sizes: Sequence[int], told: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Every design, size, dealing and number of repeats."""
    found = []
    for design in designs:
        for n in sizes:
            for dealt in DEALT:
                for repeats in (1, REPEATS):
                    start = time.perf_counter()
                    with threadpool_limits(1):
                        own = summarise([look(design, n, dealt, seed, repeats) for seed in range(cohorts)])
                    setting = {"design": design, "n": n, "dealt": dealt, "repeats": repeats}
                    found.append({**setting, "seconds": time.perf_counter() - start, **own})
                    told(line(found[-1]))
    return found


def line(row: Mapping[str, Any]) -> str:
    """One setting as a row of Markdown: mean AUROC, then rejections in all (below + above)."""
    cells = [str(row[name]) for name in ("design", "n", "dealt", "repeats")]
    for name, value in row.items():
        if name.startswith("auroc"):
            cells.append(f"{value:.3f}")
        elif isinstance(value, list):
            cells.append(f"{sum(value):.3f} ({value[0]:.3f} + {value[1]:.3f})")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a row per setting, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--designs", nargs="+", default=DESIGNS, choices=DESIGNS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[40, 100])
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    names = list(look(DESIGNS[0], 40, "label", 0))
    print(f"| design | n | dealt | repeats | {' | '.join(names)} |\n|{'---|' * (4 + len(names))}", flush=True)
    found = measure(given.designs, given.cohorts, given.sizes, lambda text: print(text, flush=True))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
