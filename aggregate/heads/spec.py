"""What a pipeline file may say about the head; `build()` makes it and only then imports torch.

Grammar: `head: {kind: attention, hidden: 64, embedding: [256, 128], train: all}`. A new head is one
new file, one spec class here and its name in `HeadSpec`.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from cache_schema.common.strict import Strict

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


class LinearAttentionSpec(HeadBase):
    """A softmax over slices of `w . h`."""

    kind: Literal["linear_attention"] = "linear_attention"

    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of this dimension."""
        from aggregate.heads.linear_attention import LinearAttentionHead

        return LinearAttentionHead(self, dim, n_classes)


class GatedAttentionSpec(HeadBase):
    """A softmax over slices of `w . (tanh(V h + b) * sigmoid(U h + c))` (Ilse et al. 2018)."""

    kind: Literal["gated_attention"] = "gated_attention"
    hidden: PositiveInt = 64
    """Width of the tanh layer and of its gate."""

    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of this dimension."""
        from aggregate.heads.gated_attention import GatedAttentionHead

        return GatedAttentionHead(self, dim, n_classes)


class QuerySpec(HeadBase):
    """A softmax over slices of `q . h / sqrt d` for one learned query, or several side by side."""

    kind: Literal["query"] = "query"
    queries: PositiveInt = 1

    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of this dimension."""
        from aggregate.heads.query import QueryHead

        return QueryHead(self, dim, n_classes)


class MstSpec(HeadBase):
    """The Medical Slice Transformer's fusion: a CLS token and one transformer layer over the slices."""

    kind: Literal["mst"] = "mst"
    heads: PositiveInt = 12
    """Attention heads; they must divide the numbers of a token."""
    positions: Literal["none", "learned", "sinusoidal", "rotary"] = "none"
    """`none` as published, so that the order of slices has no effect; `learned` and `rotary` go by a
    slice's index in its bag, `sinusoidal` by its height in mm."""
    centre: Literal[False] = False
    """Its LayerNorm does that work."""

    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of this dimension."""
        from aggregate.heads.mst import MstHead

        return MstHead(self, dim, n_classes)


class CentreGaussianSpec(HeadBase):
    """Control: attention fixed around the middle of the slices, whatever they show."""

    learned_pool: ClassVar[bool] = False
    kind: Literal["centre_gaussian"] = "centre_gaussian"
    sigma: float = Field(default=0.2, ge=0.05)
    """Standard deviation as a share of the height between a bag's first and last slice."""

    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of this dimension."""
        from aggregate.heads.centre_gaussian import CentreGaussianHead

        return CentreGaussianHead(self, dim, n_classes)


class RandomAttentionSpec(HeadBase):
    """Control: the attention head with its attention left as it was drawn."""

    learned_pool: ClassVar[bool] = False
    kind: Literal["random_attention"] = "random_attention"
    hidden: PositiveInt = 64
    """Width of the tanh layer."""

    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of this dimension."""
        from aggregate.heads.random_attention import RandomAttentionHead

        return RandomAttentionHead(self, dim, n_classes)


HeadSpec = Annotated[
    MeanSpec
    | AttentionSpec
    | LinearAttentionSpec
    | GatedAttentionSpec
    | QuerySpec
    | MstSpec
    | CentreGaussianSpec
    | RandomAttentionSpec,
    Field(discriminator="kind"),
]
"""The registry of heads."""
