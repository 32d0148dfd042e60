"""Optimisers of stacked runs, by the name that a file calls them."""

from aggregate.training.steps.adam import StackedAdam
from aggregate.training.steps.adam_mini import StackedAdamMini
from aggregate.training.steps.adamw import StackedAdamW

OPTIMISERS: dict[str, type[StackedAdam]] = {
    "adam": StackedAdam,
    "adamw": StackedAdamW,
    "adam_mini": StackedAdamMini,
}
