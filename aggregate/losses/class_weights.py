"""Weights of the classes in a term on logits, from the run's own training bags or given.

| `class_weights` | weight of class c |
|---|---|
| `none` | 1 |
| `balanced` | `n / (C n_c)`, as scikit-learn has it |
| `{beta: 0.999}` | `(1 - beta) / (1 - beta^n_c)`, summing to C (Cui et al. 2019, arXiv 1901.05555) |
| `{CN: 1, AD: 2.5}` | as given, by label |
| `[1.0, 2.5]` | as given, in the order of the classes |

`n_c` counts the training participants of label c (a session weighs its share of one), n all of them and C
the labels that have any; a label without training bags weighs 0. Means are divided by the weights' sum, as
in `torch.nn.CrossEntropyLoss`, so that only ratios matter.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from torch import Tensor

from aggregate.common.labels import read_text_keys
from aggregate.common.table_values import listed
from aggregate.losses.base import Counts, TermSpec
from cache_schema.common.errors import ConfigError
from cache_schema.common.short_forms import reads
from cache_schema.common.strict import Strict, later


class EffectiveNumber(Strict):
    """Weights by the effective number of samples."""

    beta: float = Field(ge=0, lt=1)
    """0 weighs all classes alike, near 1 it weighs them by `1 / n_c`, e.g. `0.99`."""


@reads({"type": "null"})
def _one_of_all(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Read YAML's null as `none`; say all forms at once where none fits."""
    try:
        return read("none" if value is None else value)
    except ValidationError as error:
        raise ValueError(
            "none, balanced, {beta: a number from 0 to below 1}, a number above 0 for each label, e.g. "
            "{CN: 1, AD: 2}, or a list with a number above 0 for each class is expected"
        ) from error


Given = Annotated[tuple[PositiveFloat, ...], Field(min_length=2)]
ByLabel = Annotated[dict[str, PositiveFloat], Field(min_length=2), BeforeValidator(read_text_keys)]
ClassWeights = Annotated[
    Literal["none", "balanced"] | EffectiveNumber | Given | ByLabel, WrapValidator(_one_of_all)
]


class ClassWeightedSpec(TermSpec):
    """A term on logits that may weigh classes."""

    class_weights: ClassWeights = later("none")
    """What each class weighs: all alike, by 1 / its size, by the effective number of samples, or given
    numbers, e.g. `{CN: 1, AD: 2}`."""

    def check_classes(self, n_classes: int) -> None:
        """Given weights are one for each label.

        Raises:
            ConfigError: If they are not.
        """
        if isinstance(self.class_weights, dict):
            raise ConfigError("loss: class_weights by label need the labels' names; give a list here")
        if isinstance(self.class_weights, tuple) and len(self.class_weights) != n_classes:
            raise ConfigError(
                f"loss: class_weights has {len(self.class_weights)} numbers, but the target has {n_classes} "
                "classes; give one for each, in the order of the classes"
            )


def in_order(spec: ClassWeightedSpec, classes: Sequence[str], whole: Sequence[str]) -> ClassWeightedSpec:
    """The term with given weights in the order of the classes that it meets.

    Args:
        spec: As it was said.
        classes: Labels, in the order of the logits.
        whole: Of the cohort that was narrowed to these, if it was; else the same.

    Raises:
        ConfigError: If weights by label do not name the labels.
    """
    choice = spec.class_weights
    if isinstance(choice, tuple) and len(choice) == len(whole):
        choice = dict(zip(whole, choice, strict=True))
    if not isinstance(choice, dict):
        return spec
    if set(choice) != set(whole):
        raise ConfigError(
            f"loss: class_weights must name the classes {listed(list(whole))}, not {listed(list(choice))}"
        )
    return spec.model_copy(update={"class_weights": tuple(choice[name] for name in classes)})


def class_weights(choice: ClassWeights, counts: Float[Tensor, " class"]) -> Float[Tensor, " class"]:
    """What each label of one run weighs."""
    if isinstance(choice, tuple):
        return counts.new_tensor(choice)
    if choice == "none":
        return torch.ones_like(counts)
    if isinstance(choice, dict):
        raise TypeError("weights by label were not put in order")
    present = counts > 0
    if choice == "balanced":
        return torch.where(present, counts.sum() / (present.sum() * counts), 0)
    beta = counts.new_tensor(choice.beta)
    weight = torch.where(present, (1 - beta) / -torch.expm1(counts * beta.log()), 0)
    return weight * present.sum() / weight.sum()


def stacked_class_weights(specs: Sequence[ClassWeightedSpec], counts: Counts) -> Float[Tensor, "run class"]:
    """Of every run, from its own counts."""
    own = zip(specs, counts.double(), strict=True)
    return torch.stack([class_weights(spec.class_weights, row) for spec, row in own])
