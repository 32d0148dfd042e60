"""What a pipeline file may say about the loss: a weighted sum, each term by name.

Grammar: `loss: {cross_entropy: 1.0, supcon: 1.0, class_variance: {weight: 0.1, reduction: mean}}`.
A bare number is a term's weight. What is not named weighs 0, except cross entropy, which weighs 1:
nothing else trains the classifier.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import Strict

if TYPE_CHECKING:
    from aggregate.heads.spec import HeadSpec


def _bare_weight(value: Any) -> Any:
    """Read a bare number as `{weight: number}`."""
    return {"weight": value} if isinstance(value, int | float | str) else value


class CrossEntropySpec(Strict):
    """Cross entropy of the logits."""

    weight: float = Field(default=1.0, ge=0)


class SupConSpec(Strict):
    """Supervised contrastive loss of the embeddings (Khosla et al. 2020)."""

    weight: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=0.07, gt=0)


class ClassVarianceSpec(Strict):
    """Scatter of the unit embeddings about their class mean (DinoAtten3D)."""

    weight: float = Field(default=0.0, ge=0)
    reduction: Literal["mean", "sum"] = "mean"
    """Over the embedding's dimensions; the mean is as published and, at most 1/dim, nearly inert."""


class LossSpec(Strict):
    """The weighted sum that a run minimises."""

    cross_entropy: Annotated[CrossEntropySpec, BeforeValidator(_bare_weight)] = CrossEntropySpec()
    supcon: Annotated[SupConSpec, BeforeValidator(_bare_weight)] = SupConSpec()
    class_variance: Annotated[ClassVarianceSpec, BeforeValidator(_bare_weight)] = ClassVarianceSpec()

    @property
    def contrastive(self) -> bool:
        """Whether a term acts on the embeddings and not on the logits."""
        return self.supcon.weight > 0 or self.class_variance.weight > 0


def check_loss(head: "HeadSpec", loss: LossSpec) -> None:
    """Refuse a loss that cannot train this head.

    Raises:
        ConfigError: If nothing trainable lies below the embedding of a contrastive loss, or if all
            weights are 0.
    """
    if loss.contrastive and not head.embedding and not head.learned_pool:
        raise ConfigError(
            f"loss: supcon and class_variance act on the embedding, but head {head.kind!r} with embedding: "
            "none has nothing trainable below it; give it embedding: [256, 128] or set their weights to 0"
        )
    if loss.cross_entropy.weight == 0 and not loss.contrastive:
        raise ConfigError("loss: every weight is 0, so nothing would be trained; set cross_entropy: 1.0")
