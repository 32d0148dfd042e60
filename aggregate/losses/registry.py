"""The registry of losses: a weighted sum, each term by name.

Grammar: `loss: {cross_entropy: 1.0, supcon: 1.0, class_variance: {weight: 0.1, reduction: mean}}`.
A bare number is a term's weight; a term with options and no weight weighs 1. What is not named weighs 0,
except cross entropy, which weighs 1; `schedule` changes a weight over the epochs. A new loss is one new
file, which holds its spec and its function, and its field here; somebody else's goes by any other name:
`mine: {target: "package.module:f", weight: 0.5}`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from aggregate.losses.attention_entropy import AttentionEntropySpec
from aggregate.losses.base import ActsOn, TargetKind, TermSpec, read_term
from aggregate.losses.center import CenterSpec
from aggregate.losses.class_variance import ClassVarianceSpec
from aggregate.losses.class_weights import ClassWeightedSpec, in_order
from aggregate.losses.corn import CornSpec
from aggregate.losses.cox import CoxSpec
from aggregate.losses.cross_entropy import CrossEntropySpec
from aggregate.losses.custom import CustomLossSpec
from aggregate.losses.focal import FocalSpec
from aggregate.losses.huber import HuberSpec
from aggregate.losses.normal_guidance import NormalGuidanceSpec
from aggregate.losses.squared_error import SquaredErrorSpec
from aggregate.losses.supcon import SupConSpec
from aggregate.losses.triplet import TripletSpec
from cache_schema.common.custom import read_part
from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import Strict, later


def _custom(value: Any) -> Any:
    """Read a term of another name: it has a target, or is a callable itself."""
    value = read_part(value)
    if isinstance(value, CustomLossSpec) or (isinstance(value, Mapping) and "target" in value):
        return value
    raise PydanticCustomError("extra_forbidden", "no loss of this name, and no target for one")


Term = BeforeValidator(read_term)


class LossSpec(Strict):
    """The weighted sum that a run minimises; its fields are the registry."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[CustomLossSpec, BeforeValidator(_custom)]]
    cross_entropy: Annotated[CrossEntropySpec, Term] = CrossEntropySpec()
    """Cross entropy of the logits, e.g. `1.0`."""
    supcon: Annotated[SupConSpec, Term] = SupConSpec()
    """Supervised contrastive loss of the embeddings (Khosla et al. 2020), e.g. `0.5`."""
    class_variance: Annotated[ClassVarianceSpec, Term] = ClassVarianceSpec()
    """Spread of the embeddings within each class, e.g. `{weight: 0.1, reduction: mean}`."""
    focal: Annotated[FocalSpec, Term] = later(FocalSpec())
    """Cross entropy that weighs what is already right less, e.g. `{gamma: 2.0}`."""
    center: Annotated[CenterSpec, Term] = later(CenterSpec())
    """Distance of the embeddings to their class's centre, e.g. `0.1`."""
    triplet: Annotated[TripletSpec, Term] = later(TripletSpec())
    """Hardest triplets of a batch, e.g. `1.0`."""
    attention_entropy: Annotated[AttentionEntropySpec, Term] = later(AttentionEntropySpec())
    """Evenness of the attention over a bag's slices, e.g. `{weight: 0.1, toward: peak}`."""
    normal_guidance: Annotated[NormalGuidanceSpec, Term] = later(NormalGuidanceSpec())
    """Attention held to a normal curve over the height, e.g. `0.1`."""
    corn: Annotated[CornSpec, Term] = later(CornSpec())
    """Of an ordinal target: cross entropy of each step between two classes, e.g. `1.0`."""
    huber: Annotated[HuberSpec, Term] = later(HuberSpec())
    """Of a number: squared where the error is small, straight where it is large, e.g. `1.0`."""
    squared_error: Annotated[SquaredErrorSpec, Term] = later(SquaredErrorSpec())
    """Of a number: the squared error, e.g. `1.0`."""
    cox: Annotated[CoxSpec, Term] = later(CoxSpec())
    """Of a time to an event: Cox's partial likelihood, e.g. `1.0`."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.__pydantic_extra__ or ():
            if not re.fullmatch(r"[A-Za-z]\w*", name) or hasattr(type(self), name):
                raise ValueError(f"{name!r} cannot be the name of a loss; take letters, digits and _")
        return self

    @property
    def terms(self) -> dict[str, TermSpec]:
        """Every term that weighs something, by name."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        found: dict[str, TermSpec] = {**fields, **(self.__pydantic_extra__ or {})}
        return {name: term for name, term in found.items() if term.weight > 0}

    def in_order(self, classes: Sequence[str], whole: Sequence[str]) -> Self:
        """With class weights in the order of the logits; arguments as in `losses.class_weights.in_order`.

        Raises:
            ConfigError: If weights by label do not name the labels.
        """
        terms = {name: getattr(self, name) for name in type(self).model_fields}
        weighted = {
            name: in_order(term, classes, whole)
            for name, term in terms.items()
            if isinstance(term, ClassWeightedSpec) and term.class_weights != "none"
        }
        return self.model_copy(update=weighted) if weighted else self

    @property
    def contrastive(self) -> bool:
        """Whether a term acts on the embeddings and not on the logits."""
        return bool(self.acting_on("embedding"))

    def acting_on(self, part: ActsOn) -> list[str]:
        """Names of the terms that act on this part of a head's output."""
        return [name for name, term in self.terms.items() if term.acts_on == part]

    @property
    def learns_by_heart(self) -> bool:
        """Whether a term fits small cohorts exactly in a few steps."""
        return any(term.learns_by_heart for term in self.terms.values())

    @property
    def balances(self) -> bool:
        """Whether a term wants equal shares of the classes in each batch."""
        return any(term.balances for term in self.terms.values())

    @property
    def needs_whole(self) -> str | None:
        """The name of a term that means something on a whole training part alone, if there is one."""
        return next((name for name, term in self.terms.items() if term.needs_whole), None)


LOSSES: dict[str, type[TermSpec]] = {
    name: type(field.default) for name, field in LossSpec.model_fields.items()
}
"""The classes of the built-in terms, by name."""


TARGETS: dict[TargetKind, str] = {
    "classes": "classes",
    "ordinal": "ordered classes, with an output for each step between two of them",
    "regression": "a number such as age",
    "survival": "the time to an event",
}
"""Kinds of targets, in words."""


def require_target(loss: LossSpec, target: TargetKind = "classes") -> None:
    """Refuse a term that is for another kind of target.

    Raises:
        ConfigError: Naming both kinds.
    """
    for name, term in loss.terms.items():
        if term.for_target is not None and term.for_target != target:
            raise ConfigError(
                f"loss: {name} is for a target of kind {term.for_target} ({TARGETS[term.for_target]}), but "
                f"this one is of kind {target}; set its weight to 0"
            )


def require_trainable(
    loss: LossSpec, head: str, layers: bool, pool: bool, target: TargetKind = "classes"
) -> None:
    """Refuse a loss that trains nothing.

    Args:
        loss: The weighted sum.
        head: What messages call the head.
        layers: Whether it has embedding layers.
        pool: Whether training changes its pool.
        target: Kind of target that it is trained for.

    Raises:
        ConfigError: If a contrastive loss or one on attention has nothing to train, if all weights are 0,
            or if a term is for another kind of target.
    """
    require_target(loss, target)
    if loss.contrastive and not (layers or pool):
        names = " and ".join(loss.acting_on("embedding"))
        raise ConfigError(
            f"loss: {names} acts on the embedding, but head {head!r} with embedding: none has nothing "
            "trainable below it; give it embedding: [256, 128] or set that weight to 0"
        )
    if (names := " and ".join(loss.acting_on("attention"))) and not pool:
        raise ConfigError(
            f"loss: {names} acts on the attention, but head {head!r} has none that trains; take a head that "
            "learns where to look, with train: all, or set that weight to 0"
        )
    if not loss.terms:
        raise ConfigError("loss: every weight is 0, so nothing would be trained; set cross_entropy: 1.0")
