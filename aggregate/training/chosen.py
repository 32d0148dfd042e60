"""`train: auto`: rate and epochs chosen by inner folds of every run's own training bags.

Each run's training part is dealt into three folds of participants; on two of them the head trains at every
rate, and its cross entropy on the third is noted after every epoch, the start included. The rate and the
epoch with the lowest mean over all bags are what the run itself is then trained with, on its whole training
part. So a head that does not get past its start on bags it has not seen stays there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aggregate.cohort.folds import deal
from aggregate.cohort.people import people_of
from aggregate.common.arrays import Floats, Ints
from aggregate.training.runs import Chosen, RunSpec, TrainedRun

INNER_FOLDS = 3
RATES = (1e-3, 1e-2)
"""Slow enough for a sign in all slices, fast enough for one in few: `docs/which-head.md` has both."""
PATIENCE = 10
"""Epochs after which an inner run that gets no better ends, which keeps the cost down."""

Train = Callable[[Sequence[RunSpec]], list[TrainedRun]]


@dataclass(frozen=True, slots=True)
class Inner:
    """The inner runs of one run at one rate."""

    run: int
    rate: float
    specs: tuple[RunSpec, ...]


def choose(runs: Sequence[RunSpec], y: Ints, group: Ints, train: Train) -> list[RunSpec]:
    """The runs with what inner folds chose for those that ask for it, as a fixed number of epochs.

    Args:
        runs: Some with `train.auto`.
        y: Label, or stratum, of every bag.
        group: Participant of every bag.
        train: Trains runs.
    """
    asked = [
        inner
        for index, run in enumerate(runs)
        if run.train.auto and enough(run.train_rows, y, group)
        for inner in inner_runs(index, run, y, group)
    ]
    trained = iter(train([spec for inner in asked for spec in inner.specs]) if asked else [])
    found: dict[int, list[tuple[float, Chosen]]] = {}
    for inner in asked:
        curve = mean_curve([next(trained) for _ in inner.specs])
        first = 0 if inner.specs[0].training.starts_at_baseline else 1
        epoch = first + int(np.argmin(curve[first:]))
        best = (float(curve[epoch]), Chosen(inner.rate, epoch))
        found.setdefault(inner.run, []).append(best)
    # The first of equal ones is the slower rate.
    chosen = {index: min(best, key=lambda pair: pair[0])[1] for index, best in found.items()}
    return [replace(run, chosen=chosen[index]) if index in chosen else run for index, run in enumerate(runs)]


def inner_epochs(runs: Sequence[RunSpec]) -> int:
    """The most epochs of all inner runs, for a progress bar."""
    asked = [run for run in runs if run.train.auto]
    return sum(INNER_FOLDS * len(rates_of(run)) * run.training.epochs for run in asked)


def rates_of(run: RunSpec) -> tuple[float, ...]:
    """The rates to choose from; one that a file states is the only one."""
    stated = run.train.learning_rate
    return RATES if stated is None else (stated,)


def enough(rows: Ints, y: Ints, group: Ints) -> bool:
    """Whether every class has a participant for each inner fold."""
    people = people_of([str(name) for name in group[rows]], y[rows])
    return bool(np.unique(people.y, return_counts=True)[1].min() >= INNER_FOLDS)


def inner_runs(index: int, run: RunSpec, y: Ints, group: Ints) -> list[Inner]:
    """A run's inner folds at every rate."""
    rows, asked = run.train_rows, run.train
    people = people_of([str(name) for name in group[rows]], y[rows])
    stream = np.random.default_rng([*run.stream, INNER_FOLDS])
    hand = deal(people.y, INNER_FOLDS, stream)[people.of_bag]
    return [
        Inner(
            index,
            rate,
            tuple(
                replace(
                    run,
                    train=asked.model_copy(
                        update={"auto": False, "learning_rate": rate, "patience": PATIENCE}
                    ),
                    train_rows=rows[hand != fold],
                    validation_rows=rows[hand == fold],
                )
                for fold in range(INNER_FOLDS)
            ),
        )
        for rate in rates_of(run)
    ]


def mean_curve(runs: Sequence[TrainedRun]) -> Floats:
    """Cross entropy by epoch, from the start on, over the validation bags of all inner folds (epoch,).

    A run that ended early keeps the value that it ended with.
    """
    curves = [[run.start, *run.validation] for run in runs]
    length = max(len(curve) for curve in curves)
    table = np.array([curve + curve[-1:] * (length - len(curve)) for curve in curves], dtype=np.float64)
    weight = np.array([len(run.spec.validation_rows) for run in runs], dtype=np.float64)
    return np.asarray(np.nan_to_num(weight @ table / weight.sum(), nan=np.inf), dtype=np.float64)
