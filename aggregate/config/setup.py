"""One configuration as training sees it: what is trained, on which tokens, how often."""

from dataclasses import dataclass

from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.runs import TrainSpec


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
