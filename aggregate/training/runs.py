"""What goes into one training and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from torch import Tensor

from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec, require_trainable
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.strict import Strict


class TrainSpec(Strict):
    """How one run is trained."""

    epochs: PositiveInt = 100
    """The most epochs; all of them when nothing stops the run early."""
    batch_size: PositiveInt = 16
    """Bags per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 term added to the gradient, as `torch.optim.Adam` has it."""
    patience: PositiveInt | None = 20
    """Stop after so many epochs without a lower validation cross-entropy, and keep the best weights;
    null trains all epochs and keeps the last weights."""
    optimiser: Literal["adam"] = "adam"
    class_balanced: bool | Literal["auto"] = "auto"
    """Equal shares of the classes in each batch; `auto`: when a term of the loss wants that, as `supcon` and
    `triplet` do."""


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

    @property
    def name(self) -> str:
        """How messages call this run."""
        return f"{self.configuration}, repeat {self.repeat}, fold {self.fold}, seed {self.seed}"

    @property
    def stream(self) -> tuple[int, int, int]:
        """What its random numbers depend on."""
        return self.seed, self.repeat, self.fold

    @property
    def class_balanced(self) -> bool:
        """Whether batches hold equal shares of the labels."""
        asked = self.train.class_balanced
        return self.loss.balances if asked == "auto" else asked


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """What a training leaves."""

    spec: RunSpec
    state: dict[str, Tensor]
    """All weights of the best epoch, without the run axis."""
    best_epoch: int
    """Counted from 1; the last one when nothing could stop the run early."""
    epochs: int
    """Epochs trained."""
    history: dict[str, list[float]]
    """Per epoch: `train_loss`, and `validation_cross_entropy` where there are validation bags."""
    stacking: str | None = None
    """`vmap` or `loop`: how a custom head's runs were computed."""


def check_run(run: RunSpec, y: NDArray[np.int64], n_classes: int) -> None:
    """Refuse a run that cannot be trained as asked.

    Raises:
        ConfigError: If its loss cannot train its head, or its batches are too small to be balanced.
        SlicecacheError: If it has no training bag, or a bag without a label.
    """
    require_trainable(run.loss, run.head.name, bool(run.head.embedding), run.head.pool_learns)
    for term in run.loss.terms.values():
        term.check_classes(n_classes)
    if not len(run.train_rows):
        raise SlicecacheError(
            f"the run {run.name} has no bag to train on; use fewer folds or a larger cohort"
        )
    labels = y[np.concatenate([run.train_rows, run.validation_rows])]
    if labels.min() < 0 or labels.max() >= n_classes:
        raise SlicecacheError(f"the run {run.name} holds a bag whose label is not one of 0..{n_classes - 1}")
    needed = 2 * len(np.unique(y[run.train_rows]))
    if run.class_balanced and run.train.batch_size < needed:
        raise ConfigError(
            f"train.batch_size is {run.train.batch_size}, but class-balanced batches (two bags of each "
            f"class) need at least {needed}; raise it or set train.class_balanced: false"
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
            f"train.learning_rate ({run.train.learning_rate:g}), or the weights and options of the loss"
        )
