"""Does the head know more than the confounds? What each way to ask says of made-up cohorts.

    python benchmarks/adjusted.py --cohorts 400 --json adjusted.json

Age, sex and one of three sites; the label goes with nothing, or with all of them, or with the square of age.
A head sees traces of the confounds (none, weak, strong; of the square of age where that counts) and noise;
with a signal also something of its own. Confounds only and heads are the software's logistic regression.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from made_up_cohorts import Division, fold_aurocs
from matched_designs import LEVEL, logistic
from threadpoolctl import threadpool_limits

from aggregate.cohort.folds import deal
from aggregate.common.arrays import Floats, Ints
from aggregate.shortcuts.adjusted import beyond, covariates_of
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_t_test

FOLDS, COLUMNS = 5, 10
DESIGNS = ("unconfounded", "confounded", "confounded by age squared")
TRACES = {"none": None, "weak": 1.5, "strong": 0.3}
"""Standard deviation of the noise on a trace."""
ALIKE = 0.2
"""Standard deviations of the confounds' logit within which a pair is alike (Austin, Pharm Stat 2011)."""


def recruit(design: str, n: int, stream: np.random.Generator) -> tuple[Ints, pd.DataFrame]:
    """Labels, half of them 1, and confounds."""
    sex, site, age = stream.integers(0, 2, n), stream.integers(0, 3, n), stream.normal(size=n)
    known = {"unconfounded": 0.0, "confounded": 1.2 * age, DESIGNS[2]: 1.5 * age**2}[design]
    if design == "confounded":
        known = known + (2 * sex - 1) + 1.2 * ((site == 0).astype(float) - (site == 1))
    drive = known + stream.logistic(size=n)
    words = {"sex": np.array(["F", "M"])[sex], "site": np.array(["a", "b", "c"])[site]}
    return (drive > np.median(drive)).astype(np.int64), pd.DataFrame({"age": age, **words})


def see(
    y: Ints, frame: pd.DataFrame, traces: float | None, signal: float, squared: bool, stream: Any
) -> Floats:
    """What the head reads (participant, column)."""
    x: Floats = stream.standard_normal((len(y), COLUMNS))
    if traces is not None:
        age = frame["age"].to_numpy()
        own = [frame["sex"] == "M", frame["site"] == "a", frame["site"] == "b"]
        traces_of = np.stack([age**2 - 1 if squared else age, *(2.0 * part for part in own)], axis=1)
        x[:, :4] = traces_of + traces * x[:, :4]
    x[:, 5] += signal * y
    return x


def score(x: Floats, division: Division) -> Floats:
    """Out-of-fold logits (repeat, participant)."""
    every = logistic(x, division.y, division.outside).reshape(len(division.hands), FOLDS, -1)
    return np.take_along_axis(every, division.hands[:, None], axis=1)[:, 0]


def ways(confounds: Floats, head: Floats, frame: pd.DataFrame, division: Division) -> dict[str, Floats]:
    """What is tested against 0, per fold, by every way."""
    alone = fold_aurocs(confounds, division)
    site = frame["site"].to_numpy()
    spread = confounds.std(axis=1)

    def alike(repeat: int, a: Ints, b: Ints) -> Floats:
        gap = np.abs(confounds[repeat][a][:, None] - confounds[repeat][b])
        return (gap <= ALIKE * spread[repeat]).astype(np.float64)

    return {
        "difference of AUROC": fold_aurocs(head, division) - alone,
        "combined by other folds": fold_aurocs(stacked(confounds, head, division), division) - alone,
        "pairs of one site": paired(head, division, lambda _, a, b: 1.0 * (site[a][:, None] == site[b])),
        "pairs of alike confounds": paired(head, division, alike),
        "beyond the confounds (ours)": residual(head, frame, division) - 0.5,
    }


def stacked(confounds: Floats, head: Floats, division: Division) -> Floats:
    """Both logits combined by logistic regression on the other folds' out-of-fold logits."""
    found = np.empty_like(head)
    for repeat, hands in enumerate(division.hands):
        z = np.stack([confounds[repeat], head[repeat]], axis=1)
        every = logistic(z, division.y, hands != np.arange(FOLDS)[:, None])
        found[repeat] = np.take_along_axis(every, hands[None], axis=0)[0]
    return found


def paired(head: Floats, division: Division, weight: Callable[[int, Ints, Ints], Floats]) -> Floats:
    """Per fold; the mean over folds is that over all pairs."""
    above, count = [], []
    for repeat, hands in enumerate(division.hands):
        for hand in range(FOLDS):
            a, b = (np.flatnonzero((hands == hand) & (division.y == c)) for c in (1, 0))
            w = weight(repeat, a, b)
            above.append(float((w * (0.5 * np.sign(head[repeat][a][:, None] - head[repeat][b]))).sum()))
            count.append(float(w.sum()))
    return np.array(above) / max(float(np.mean(count)), 1e-12)


def residual(head: Floats, frame: pd.DataFrame, division: Division) -> Floats:
    """The software's own."""
    found, covariates = np.empty_like(head), covariates_of(frame)
    for repeat, hands in enumerate(division.hands):
        rows = [np.flatnonzero(hands == hand) for hand in range(FOLDS)]
        rests = beyond([(own, head[repeat][own][:, None]) for own in rows], covariates)
        for own, rest in zip(rows, rests, strict=True):
            found[repeat, own] = rest[:, 0]
    return fold_aurocs(found, division)


def look(design: str, traces: str, signal: float, n: int, repeats: int, seed: int) -> dict[str, int]:
    """What every way says of one cohort: -1 less, 1 more, 0 nothing shown."""
    stream = np.random.default_rng([seed, n])
    y, frame = recruit(design, n, stream)
    x = see(y, frame, TRACES[traces], signal, design == DESIGNS[2], stream)
    hands = [deal(y, FOLDS, np.random.default_rng([seed, repeat])) for repeat in range(repeats)]
    division = Division(y, np.stack(hands))
    columns = [frame[["age"]].to_numpy(), pd.get_dummies(frame[["sex", "site"]]).to_numpy(dtype=np.float64)]
    confounds = score(np.concatenate(columns, axis=1), division)
    said = {}
    for name, values in ways(confounds, score(x, division), frame, division).items():
        found = corrected_t_test(values, division.n_train, division.n_test, overlap=SHARED_PAIRS)
        said[name] = int(np.sign(found.difference)) if found.p <= LEVEL else 0
    return said


def measure(settings: Sequence[tuple[str, str, float, int, int]], cohorts: int) -> list[dict[str, Any]]:
    """Rates of `less` and `more` in every setting."""
    found = []
    with threadpool_limits(1):
        for setting in settings:
            looks = [look(*setting, seed) for seed in range(cohorts)]
            rates = {
                name: [float(np.mean([one[name] == side for one in looks])) for side in (-1, 1)]
                for name in looks[0]
            }
            keys = ("design", "traces", "signal", "n", "repeats")
            found.append({**dict(zip(keys, setting, strict=True)), "rates": rates})
            print(line(found[-1]), flush=True)
    return found


def line(row: Mapping[str, Any]) -> str:
    """One setting as a row of Markdown: how often `more` is said."""
    cells = [str(row[name]) for name in ("design", "traces", "signal", "n", "repeats")]
    return f"| {' | '.join([*cells, *(f'{more:.3f}' for _, more in row['rates'].values())])} |"


def main() -> None:
    """Print a row per setting, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--sizes", type=int, nargs="+", default=[40, 100])
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    cells = [(d, t, 0.0) for d in DESIGNS for t in TRACES]
    cells += [(d, "strong", s) for d in DESIGNS for s in (1.0, 1.6)]
    settings = [(*cell, n, r) for n in given.sizes for r in given.repeats for cell in cells]
    found = measure(settings, given.cohorts)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
