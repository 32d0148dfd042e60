"""Inner folds of a run's own training bags: what they choose, and what they say of bags not seen.

Each run's training part is dealt into three folds of participants; on two of them the head trains, and its
logits of the third are kept. So every training bag is judged once by a head that did not see it: threshold
and temperature are learnt from that, and the run itself learns from its whole training part.

With `train: auto` that is done at every rate, after every epoch, the start included: the rate and the epoch
with the lowest mean cross entropy (or what else the target's goal watches) are what the run is then trained
with. A head that does not get past its start on bags it has not seen stays there. Heads that learn small
cohorts by heart have their epochs chosen so by default.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aggregate.cohort.folds import deal
from aggregate.cohort.people import people_of
from aggregate.common.arrays import Floats, Ints
from aggregate.training.runs import Chosen, Inside, RunSpec, TrainedRun

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
    specs: tuple[RunSpec, ...]


def look_inside(runs: Sequence[RunSpec], y: Ints, group: Ints, train: Train) -> list[RunSpec]:
    """The runs with what inner folds chose for those that ask for it, and said of their bags.

    Args:
        runs: Some with `train.auto` or `within`.
        y: Label, or stratum, of every bag.
        group: Participant of every bag.
        train: Trains runs.
    """
    asked = [
        inner
        for index, run in enumerate(runs)
        if (run.train.auto or run.within) and enough(run.train_rows, y, group)
        for inner in inner_runs(index, run, y, group)
    ]
    trained = iter(train([spec for inner in asked for spec in inner.specs]) if asked else [])
    found: dict[int, list[RunSpec]] = {}
    for inner in asked:
        own = [next(trained) for _ in inner.specs]
        found.setdefault(inner.run, []).append(judged(runs[inner.run], own))
    # The first of equal ones is the slower rate.
    best = {index: min(judgements, key=_loss) for index, judgements in found.items()}
    return [best.get(index, run) for index, run in enumerate(runs)]


def _loss(run: RunSpec) -> float:
    return np.inf if run.inside is None else run.inside.loss


def inner_epochs(run: RunSpec) -> int:
    """The most epochs of a run's inner runs."""
    if not (run.train.auto or run.within):
        return 0
    return INNER_FOLDS * len(rates_of(run)) * run.training.epochs


def rates_of(run: RunSpec) -> tuple[float, ...]:
    """The rates to choose from; one that a file states, or a head has by default, is the only one."""
    stated = run.train.learning_rate
    if stated is not None:
        return (stated,)
    return RATES if run.train.auto else (run.training.learning_rate,)


def enough(rows: Ints, y: Ints, group: Ints) -> bool:
    """Whether every class has a participant for each inner fold."""
    people = people_of([str(name) for name in group[rows]], y[rows])
    return bool(np.unique(people.y, return_counts=True)[1].min() >= INNER_FOLDS)


def inner_runs(index: int, run: RunSpec, y: Ints, group: Ints) -> list[Inner]:
    """A run's inner folds at every rate."""
    rows, patience = run.train_rows, PATIENCE if run.chooses else None
    people = people_of([str(name) for name in group[rows]], y[rows])
    stream = np.random.default_rng([*run.stream, INNER_FOLDS])
    hand = deal(people.y, INNER_FOLDS, stream)[people.of_bag]
    return [
        Inner(index, tuple(_inner_run(run, hand == fold, rate, patience) for fold in range(INNER_FOLDS)))
        for rate in rates_of(run)
    ]


def _inner_run(run: RunSpec, out: Ints, rate: float, patience: int | None) -> RunSpec:
    """One inner fold, whose bags that are `out` validate."""
    asked = {"auto": False, "learning_rate": rate, "patience": patience}
    return replace(
        run,
        train=run.train.model_copy(update=asked),
        train_rows=run.train_rows[~out],
        validation_rows=run.train_rows[out],
        within=False,
        is_inner=True,
    )


def judged(run: RunSpec, inner: Sequence[TrainedRun]) -> RunSpec:
    """A run with what its inner runs at one rate say, and the epochs that they choose if they do."""
    curve = mean_curve(inner)
    first = inner[0].spec
    chosen, epoch = None, len(curve) - 1
    if run.chooses:
        begin = 0 if first.training.starts_at_baseline else 1
        epoch = begin + int(np.argmin(curve[begin:]))
        chosen = Chosen(first.training.learning_rate, epoch)
    return replace(run, chosen=chosen, inside=Inside(_said(run, inner, epoch), curve[0], curve[epoch]))


def _said(run: RunSpec, inner: Sequence[TrainedRun], epoch: int) -> Floats:
    """Logits of the run's training bags (bag, class), each by the inner run that did not see it."""
    parts = [own.said[min(epoch, len(own.said) - 1)] for own in inner if own.said is not None]
    rows = np.concatenate([own.spec.validation_rows for own in inner])
    logits = np.empty_like(np.concatenate(parts))
    order = np.argsort(run.train_rows)
    logits[order[np.searchsorted(run.train_rows, rows, sorter=order)]] = np.concatenate(parts)
    return logits


def mean_curve(runs: Sequence[TrainedRun]) -> list[float]:
    """Cross entropy by epoch, from the start on, over the validation bags of all inner folds.

    A run that ended early keeps the value that it ended with.
    """
    curves = [[run.start, *run.validation] for run in runs]
    length = max(len(curve) for curve in curves)
    table = np.array([curve + curve[-1:] * (length - len(curve)) for curve in curves], dtype=np.float64)
    weight = np.array([len(run.spec.validation_rows) for run in runs], dtype=np.float64)
    means: list[float] = np.nan_to_num(weight @ table / weight.sum(), nan=np.inf).tolist()
    return means
