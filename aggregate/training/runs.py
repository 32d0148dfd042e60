"""What goes into one training and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aggregate.common.arrays import Floats
from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec, require_trainable
from aggregate.training.solving.goal import Goal
from aggregate.training.spec import PLAIN_BATCH, WHOLE_BYTES, Training, TrainSpec
from cache_schema.common.errors import ConfigError, SlicecacheError

VALIDATION = "validation_"
"""Begins the name of the loss that is watched."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What inner folds chose."""

    learning_rate: float
    epochs: int
    """0: the start itself."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What inner folds say of a run's own training bags: of each, by a head that did not see it."""

    logits: Floats
    """In the order of the run's `train_rows` (bag, class)."""
    start: float
    """Their mean cross entropy before the first step."""
    loss: float
    """After the epochs that the run itself is trained for."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One training: what is trained, on which bags, from which seed."""

    configuration: str
    repeat: int
    fold: int
    seed: int
    head: HeadSpec
    loss: LossSpec
    train: TrainSpec
    train_rows: NDArray[np.int64]
    """Bags to learn from, as rows of the cohort."""
    validation_rows: NDArray[np.int64]
    """Bags that decide when to stop; empty for a fixed number of epochs."""
    within: bool = False
    """Whether inner folds say what its training bags look like to a head that has not seen them: for
    threshold and temperature, and for the epochs of a head that would otherwise stop early."""
    chosen: Chosen | None = None
    """What inner folds chose for it; then its validation bags decide nothing."""
    inside: Inside | None = None
    """What inner folds said of it."""
    is_inner: bool = False
    """Whether it is a run on inner folds itself: it leaves what it says of its validation bags, and no
    weights."""

    @property
    def name(self) -> str:
        """How messages call this run."""
        return f"{self.configuration}, repeat {self.repeat}, fold {self.fold}, seed {self.seed}"

    @property
    def stream(self) -> tuple[int, int, int]:
        """What its random numbers depend on."""
        return self.seed, self.repeat, self.fold

    @property
    def chooses(self) -> bool:
        """Whether inner folds choose how many epochs it is trained."""
        asked = self.train.training(self.head, self.loss, len(self.train_rows))
        return self.train.auto or (self.within and asked.patience is not None)

    @property
    def training(self) -> Training:
        """How it is trained, in numbers."""
        asked = self.train.training(self.head, self.loss, len(self.train_rows))
        if self.chosen is None:
            return asked
        rate, epochs = self.chosen.learning_rate, self.chosen.epochs
        return replace(asked, learning_rate=rate, epochs=epochs, patience=None)


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """What a training leaves."""

    spec: RunSpec
    state: dict[str, Tensor]
    """All weights of the best epoch, without the run axis."""
    best_epoch: int
    """Counted from 1; 0 is the baseline that it started at; the last one when nothing could stop it early."""
    epochs: int
    """Epochs trained."""
    history: dict[str, list[float]]
    """Per epoch: `train_loss`, and where there are validation bags `validation_cross_entropy`, or what else
    is watched."""
    start: float | None = None
    """The same before the first step; None without validation bags."""
    stacking: str | None = None
    """`vmap` or `loop`: how a custom head's runs were computed."""
    said: Floats | None = None
    """Of an inner run: logits of its validation bags (epoch, bag, class), the start first; the last epoch's
    alone where there is nothing to choose."""

    @property
    def validation(self) -> list[float]:
        """The loss that is watched, by epoch; empty without validation bags."""
        return next((values for name, values in self.history.items() if name.startswith(VALIDATION)), [])


def with_common_batches(runs: Sequence[RunSpec], bag_bytes: int) -> list[RunSpec]:
    """The runs with one size for all that take their whole training part as a batch.

    It is the largest that any of them needs, as far as the tokens of bags of so many bytes fit, or a loss
    cannot do without: places that stay empty change nothing, and runs of one size train together.
    """
    needed = [run.loss.needs_whole is not None for run in runs]
    whole = [
        run.train.batch_size is None and (run.training.starts_at_baseline or need)
        for run, need in zip(runs, needed, strict=True)
    ]
    size = max((run.training.batch_size for run, all_ in zip(runs, whole, strict=True) if all_), default=1)
    if not any(needed):
        size = min(size, max(PLAIN_BATCH, WHOLE_BYTES // bag_bytes))
    return [
        replace(run, train=run.train.model_copy(update={"batch_size": size})) if all_ else run
        for run, all_ in zip(runs, whole, strict=True)
    ]


def check_run(run: RunSpec, y: NDArray[Any], strata: NDArray[np.int64], goal: Goal) -> None:
    """Refuse a run that cannot be trained as asked.

    Raises:
        ConfigError: If its loss cannot train its head, or its batches are too small to be balanced.
        SlicecacheError: If it has no training bag, or a bag without a label.
    """
    layers = bool(run.head.embedding)
    require_trainable(run.loss, run.head.name, layers, run.head.pool_learns, goal.target)
    for term in run.loss.terms.values():
        term.check_classes(goal.n_classes)
    if not len(run.train_rows):
        raise SlicecacheError(
            f"the run {run.name} has no bag to train on; use fewer folds or a larger cohort"
        )
    goal.check(y[np.concatenate([run.train_rows, run.validation_rows])], run.name)
    needed = 2 * len(np.unique(strata[run.train_rows]))
    _refuse_parts(run)
    _refuse_watch(run, y, goal)
    if run.training.class_balanced is True and run.training.batch_size < needed:
        raise ConfigError(
            f"train.batch_size is {run.training.batch_size}, but class-balanced batches (two bags of each "
            f"class) need at least {needed}; raise it or set train.class_balanced: false"
        )


def _refuse_watch(run: RunSpec, y: NDArray[Any], goal: Goal) -> None:
    """Refuse what is meant for classes where there are none, or not all of them.

    Raises:
        ConfigError: Saying what to set instead.
    """
    for asked, key, other in (
        (run.training.watch == "auroc", "watch: auroc", "watch: loss"),
        (run.training.class_balanced == "drawn", "class_balanced: drawn", "class_balanced: auto"),
    ):
        if asked and not goal.n_classes:
            raise ConfigError(f"train.{key} is for classes, and the target has none; set train.{other}")
    n, found = len(run.validation_rows), len(np.unique(y[run.validation_rows]))
    if run.training.watch == "auroc" and n and found < goal.n_classes:
        raise ConfigError(
            f"train.watch is auroc, but the {n} validation bag(s) of the run {run.name} have {found} of "
            f"{goal.n_classes} classes; set train.watch: loss, or a larger folds.validation"
        )


def _refuse_parts(run: RunSpec) -> None:
    """Refuse batches of a part where a loss means something on the whole alone.

    Raises:
        ConfigError: Naming both numbers.
    """
    name, n = run.loss.needs_whole, len(run.train_rows)
    if name is None:
        return
    if run.training.batch_size < n:
        raise ConfigError(
            f"train.batch_size is {run.training.batch_size}, but loss {name} needs the whole training part "
            f"({n} bags) in one batch, since who is at risk in a part of it is biased; leave batch_size out"
        )
    if run.training.class_balanced:
        raise ConfigError(
            f"train.class_balanced is for classes, and loss {name} takes every bag once; leave it out"
        )


def require_finite(run: RunSpec, state: Mapping[str, Tensor]) -> None:
    """Refuse what a run left that has diverged.

    Raises:
        SlicecacheError: If a weight is no number.
    """
    wrong = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if wrong:
        raise SlicecacheError(
            f"the run {run.name} diverged: {wrong[0]} holds what is no finite number; lower "
            f"train.learning_rate ({run.training.learning_rate:g}), or the weights and options of the loss"
        )
