"""What a pipeline file may say about the head; `build()` makes it and only then imports torch.

Grammar: `head: {kind: attention, hidden: 64, embedding: [256, 128], train: all}`. A new head is one
new file, one spec class here and its name in `HeadSpec`.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from cache_schema.models import Strict

if TYPE_CHECKING:
    from aggregate.heads.base import Head

Train = Literal["all", "embedding"]


def _widths(value: Any) -> Any:
    """Read `none` (and YAML's null) as no embedding layers."""
    return () if value in ("none", None) else value


Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(_widths)]


class HeadBase(Strict):
    """What every head has: an embedding of the pooled slices and the choice of what is trained."""

    learned_pool: ClassVar[bool] = True
    """Whether pooling has parameters of its own."""
    embedding: Widths = ()
    """Widths of the linear layers, each followed by ReLU, before the classifier; `none` for no layer.
    DinoAtten3D's recipes set `[256, 128]`."""
    centre: bool = True
    """Centre and scale tokens by the run's training slices (see `heads/centring.py`); the published
    recipes do not."""
    train: Train = "all"
    """`embedding` trains those layers alone and leaves pooling and classifier as they were drawn."""

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        if self.train == "embedding" and not self.embedding:
            raise ValueError("train: embedding needs embedding layers, but embedding is none")
        return self


class MeanSpec(HeadBase):
    """The mean over kept slices."""

    learned_pool: ClassVar[bool] = False
    kind: Literal["mean"] = "mean"

    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of this dimension."""
        from aggregate.heads.mean import MeanHead

        return MeanHead(self, dim, n_classes)


class AttentionSpec(HeadBase):
    """DinoAtten3D's head: a softmax over slices of `w . tanh(V h + b)`."""

    kind: Literal["attention"] = "attention"
    hidden: PositiveInt = 64
    """Width of the tanh layer."""

    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of this dimension."""
        from aggregate.heads.attention import AttentionHead

        return AttentionHead(self, dim, n_classes)


HeadSpec = Annotated[MeanSpec | AttentionSpec, Field(discriminator="kind")]
"""The registry of heads."""
