"""One configuration as training sees it: what is trained, on which tokens, how often."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.spec import TrainSpec


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """A head with its loss and its training."""

    name: str
    """Of the configuration: the recipe's, or the head's kind."""
    tokens: str
    head: HeadSpec
    loss: LossSpec
    train: TrainSpec
    seeds: int = 1
    """Trainings per fold."""

    def for_classes(self, classes: Sequence[str], whole: Sequence[str] | None = None) -> "TrainingSetup":
        """The same with class weights in the order of the labels.

        Args:
            classes: Labels, in the order of the logits.
            whole: Of the cohort that was narrowed to these, if it was.

        Raises:
            ConfigError: If weights by label do not name the labels.
        """
        return replace(self, loss=self.loss.in_order(classes, classes if whole is None else whole))
