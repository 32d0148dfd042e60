"""How a run is trained: what a file says, and what it comes to."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import Field, PositiveInt

from aggregate.heads.base import HeadBase
from aggregate.heads.multiply import Product
from aggregate.losses.registry import LossSpec
from aggregate.training.device import DeviceName
from cache_schema.common.short_forms import reads
from cache_schema.common.strict import Strict


class TrainSpec(Strict):
    """How one run is trained; what is null follows from its start, as `Training` says."""

    start: Literal["baseline", "plain"] = "baseline"
    """`baseline`: pooled vectors are standardised and the classifier starts at the L2-logistic solution on
    them, attention even; `plain`: everything as it was drawn. With embedding layers there is no such
    solution, and every start is plain."""
    epochs: PositiveInt | None = None
    """The most epochs; all of them when nothing stops the run early, e.g. `100`."""
    batch_size: PositiveInt | None = None
    """Bags per step, e.g. `16`."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Of the optimiser at its highest; by default as `start` and `rate_schedule` want it, e.g. `1.0e-3`."""
    rate_schedule: Literal["constant", "cosine"] | None = None
    """`cosine`: the rate rises over the first tenth of the steps and falls to zero by half a cosine, so that
    the last steps no longer swing; `constant`: it stays."""
    weight_decay: float | None = Field(default=None, ge=0)
    """L2 term added to the gradient, as `torch.optim.Adam` has it, e.g. `0.01`."""
    patience: PositiveInt | Literal["auto"] | None = "auto"
    """Stop after so many epochs without a lower validation cross-entropy, and keep the best weights;
    null trains all epochs and keeps the last weights."""
    optimiser: Literal["adam", "adamw", "adam_mini"] | None = None
    """`adam_mini`: one second moment for each tensor in place of one for each number, by default of what
    starts at the baseline and takes all its epochs; `adam`, by default of everything else; `adamw`: the decay
    shrinks the weights themselves, as `torch.optim.AdamW` has it."""
    epsilon: float | None = Field(default=None, gt=0)
    """Added to the size of gradients before a step is divided by it: parameters whose gradients are much
    smaller hardly move. Null is 0.02 for `adam_mini` and 1e-8 for the others, e.g. `1.0e-8`."""
    watch: Literal["loss", "auroc"] = "loss"
    """What an early stop looks at: the validation cross-entropy, or 1 - AUROC of the validation part (of more
    than two classes the mean of each against the rest)."""
    auto: bool = False
    """Inner folds choose rate and epochs in every run (`training/inner.py`); `train: auto` says so."""
    products: Product | Literal["auto"] = "auto"
    """What float32 slices are multiplied by: `auto` measures which of those as good as float32 is fastest,
    and what it took is what the run folder's `config.yaml` says; `bfloat16` is twice as fast where the
    processor has it, and moves logits by some hundredths of their spread. Without a run folder `auto` is
    torch's own."""
    device: DeviceName = "cpu"
    """Where heads train: `cpu`, `cuda` (the first GPU), `cuda:1`, or `auto`: a GPU where torch sees one, and
    what it came to is what the run folder's `config.yaml` says. Numbers are the CPU's to rounding. It is
    `cpu` unless asked, since that gives the same bytes again on every day, and a head takes seconds."""
    class_balanced: bool | Literal["auto", "drawn"] = "auto"
    """Equal shares of the classes in each batch; `auto`: when a term of the loss wants that, as `supcon` and
    `triplet` do. `drawn`: an epoch's bags are drawn with replacement, each class as often (MST)."""

    @property
    def product(self) -> Product:
        """What slices are multiplied by; torch's own where nobody has measured."""
        return "torch" if self.products == "auto" else self.products

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
        usual = self._usual(baseline, head.learns_by_heart or loss.learns_by_heart)
        patience = usual.patience if self.patience == "auto" else self.patience
        # Epochs that inner folds choose, or patience, are cut from a rate that stays.
        usual_schedule = "constant" if self.auto or patience else usual.rate_schedule
        asked = self.class_balanced
        return Training(
            starts_at_baseline=baseline,
            epochs=self.epochs or usual.epochs,
            batch_size=self.batch_size or _bags_per_step(loss, n_bags, baseline),
            learning_rate=self.learning_rate or usual.learning_rate,
            rate_schedule=self.rate_schedule or usual_schedule,
            weight_decay=usual.weight_decay if self.weight_decay is None else self.weight_decay,
            patience=patience,
            class_balanced=loss.balances if asked == "auto" else asked,
            optimiser=usual.optimiser,
            epsilon=self.epsilon or EPSILONS[usual.optimiser],
            watch=self.watch,
        )

    def _usual(self, baseline: bool, by_heart: bool) -> "Usual":
        """What holds where nothing is said; an optimiser that is asked for brings the rate that suits it."""
        if not baseline or by_heart:
            usual = SHORT if baseline else PLAIN
            return usual._replace(optimiser=self.optimiser or usual.optimiser)
        # The two rates that inner folds choose from are Adam's.
        asked = self.optimiser or ("adam" if self.auto else LONG.optimiser)
        return LONG if asked == LONG.optimiser else LONG_BY_ADAM._replace(optimiser=asked)


def _bags_per_step(loss: LossSpec, n_bags: int, baseline: bool) -> int:
    """Where nothing is said."""
    if loss.needs_whole:
        return max(1, n_bags)
    return min(WHOLE, max(1, n_bags)) if baseline else PLAIN_BATCH


@reads({"const": "auto"})
def read_auto(value: Any) -> Any:
    """Read `train: auto`."""
    return {"auto": True} if value == "auto" else value


@dataclass(frozen=True, slots=True)
class Training:
    """How one run is trained, in numbers.

    Unless told otherwise a run that starts at the baseline takes 400 steps of Adam-mini of at most 5e-3,
    which rise and fall (`rate_at`), with an L2 term of 0.01, each on its whole training part (up to 512 bags
    or 32 MiB of tokens), and none of them is cut short: in planted cohorts early stop by a few validation
    bags ended at the start where attention had not yet found its slices (`docs/which-head.md`), and under a
    rate that stays single and double precision parted by several logits. An epsilon of 0.02 leaves those
    parameters where they are that have nothing to gain: without it noise of 1e-7 in the tokens of 37 brains
    ended as 7 % of the logits. A head or a loss that learns small cohorts by heart takes at most 60 steps of
    1e-3 by Adam, as many as inner folds choose. One that starts plain takes at most 100 epochs of 1e-3 by 16
    bags with a patience of 20; rate and batches are DinoAtten3D's.
    """

    starts_at_baseline: bool
    epochs: int
    batch_size: int
    learning_rate: float
    rate_schedule: str
    weight_decay: float
    patience: int | None
    class_balanced: bool | Literal["drawn"]
    optimiser: str = "adam"
    epsilon: float = 1e-8
    watch: str = "loss"

    def steps_of_rate(self, steps: int) -> int | None:
        """Over how many steps the rate rises and falls, with so many in an epoch; None: it stays."""
        return self.epochs * steps if self.rate_schedule == "cosine" else None


WHOLE = 512
"""Bags per step of a whole training part at most."""
WHOLE_BYTES = 32 * 2**20
"""What their tokens may take of the memory: a step keeps several times as much."""
PLAIN_BATCH = 16


class Usual(NamedTuple):
    """What a training is unless a file says otherwise."""

    epochs: int
    learning_rate: float
    rate_schedule: str
    weight_decay: float
    patience: int | None
    optimiser: str


EPSILONS = {"adam": 1e-8, "adamw": 1e-8, "adam_mini": 0.02}
"""Where a file says nothing. With tokens scaled by their slices gradients have the size of a loss in nats."""

LONG = Usual(400, 5e-3, "cosine", 0.01, None, "adam_mini")
LONG_BY_ADAM = Usual(200, 3e-3, "cosine", 0.01, None, "adam")
SHORT = Usual(60, 1e-3, "constant", 0.0, 20, "adam")
PLAIN = Usual(100, 1e-3, "constant", 0.0, 20, "adam")
