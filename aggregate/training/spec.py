"""How a run is trained: what a file says, and what it comes to."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import Field, PositiveInt

from aggregate.heads.base import HeadBase
from aggregate.losses.registry import LossSpec
from cache_schema.common.strict import Strict


class TrainSpec(Strict):
    """How one run is trained; what is null follows from its start, as `Training` says."""

    start: Literal["baseline", "plain"] = "baseline"
    """`baseline`: pooled vectors are standardised and the classifier starts at the L2-logistic solution on
    them, attention even (`training/start.py`); `plain`: everything as it was drawn. With embedding layers
    there is no such solution, and every start is plain."""
    epochs: PositiveInt | None = None
    """The most epochs; all of them when nothing stops the run early."""
    batch_size: PositiveInt | None = None
    """Bags per step."""
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    """L2 term added to the gradient, as `torch.optim.Adam` has it."""
    patience: PositiveInt | Literal["auto"] | None = "auto"
    """Stop after so many epochs without a lower validation cross-entropy, and keep the best weights;
    null trains all epochs and keeps the last weights."""
    optimiser: Literal["adam"] = "adam"
    auto: bool = False
    """Inner folds choose rate and epochs in every run (`training/inner.py`); `train: auto` says so."""
    class_balanced: bool | Literal["auto"] = "auto"
    """Equal shares of the classes in each batch; `auto`: when a term of the loss wants that, as `supcon` and
    `triplet` do."""

    def starts_at_baseline(self, head: HeadBase) -> bool:
        """Whether runs of this head start there."""
        return self.start == "baseline" and not head.embedding and head.train == "all"

    def learns_from_all(self, head: HeadBase) -> bool:
        """Whether its runs learn from the validation part too, and inner folds say what that would say.

        So it is where inner folds choose the epochs or nothing stops the run early: bags that are set aside
        are lost to a small cohort, and the baseline beside it learns from all.
        """
        return self.auto or (self.starts_at_baseline(head) and not isinstance(self.patience, int))

    def training(self, head: HeadBase, loss: LossSpec, n_bags: int) -> "Training":
        """What it comes to for a head and a loss on so many bags."""
        baseline = self.starts_at_baseline(head)
        usual = PLAIN if not baseline else SHORT if head.learns_by_heart or loss.learns_by_heart else LONG
        asked = self.class_balanced
        return Training(
            starts_at_baseline=baseline,
            epochs=self.epochs or usual.epochs,
            batch_size=self.batch_size or _bags_per_step(loss, n_bags, baseline),
            learning_rate=self.learning_rate or usual.learning_rate,
            weight_decay=usual.weight_decay if self.weight_decay is None else self.weight_decay,
            patience=usual.patience if self.patience == "auto" else self.patience,
            class_balanced=loss.balances if asked == "auto" else asked,
        )


def _bags_per_step(loss: LossSpec, n_bags: int, baseline: bool) -> int:
    """Where nothing is said."""
    if loss.needs_whole:
        return max(1, n_bags)
    return min(WHOLE, max(1, n_bags)) if baseline else PLAIN_BATCH


def read_auto(value: Any) -> Any:
    """Read `train: auto`."""
    return {"auto": True} if value == "auto" else value


@dataclass(frozen=True, slots=True)
class Training:
    """How one run is trained, in numbers.

    Unless told otherwise a run that starts at the baseline takes 200 steps of 3e-3 with an L2 term of 0.01,
    each step on its whole training part (up to 512 bags or 32 MiB of tokens), and none of them is cut short:
    in planted cohorts early stop by a few validation bags ended at the start where attention had not yet
    found its slices (`docs/which-head.md`). A head or a loss that learns small cohorts by heart takes at
    most 60 steps of 1e-3, as many as inner folds choose. One that starts plain takes at most 100 epochs of
    1e-3 by 16 bags with a patience of 20; rate and batches are DinoAtten3D's.
    """

    starts_at_baseline: bool
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int | None
    class_balanced: bool


WHOLE = 512
"""Bags per step of a whole training part at most."""
WHOLE_BYTES = 32 * 2**20
"""What their tokens may take of the memory: a step keeps several times as much."""
PLAIN_BATCH = 16


class Usual(NamedTuple):
    """What a training is unless a file says otherwise."""

    epochs: int
    learning_rate: float
    weight_decay: float
    patience: int | None


LONG = Usual(200, 3e-3, 0.01, None)
SHORT = Usual(60, 1e-3, 0.0, 20)
PLAIN = Usual(100, 1e-3, 0.0, 20)
