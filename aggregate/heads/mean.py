"""The mean over kept slices: the bar that every other head has to clear."""

from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.embedding import Shapes
from aggregate.heads.products import weigh


class MeanSpec(HeadBase):
    """The mean over kept slices."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "mean pooling"
    kind: Literal["mean"] = "mean"

    def build(self, dim: int, n_classes: int) -> "MeanHead":
        """Make the head for tokens of this dimension."""
        return MeanHead(self, dim, n_classes)


class MeanHead(Head):
    """`z = mean of kept h_i`; nothing to learn before the embedding."""

    def pool_shapes(self) -> Shapes:
        """The pool has no parameter."""
        return {}

    @property
    def starts_as_mean(self) -> bool:
        """It is nothing else."""
        return True

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """Uniform attention over kept slices and the mean by it."""
        dtype = parameters["classifier.weight"].dtype
        attention = (keep.to(dtype) / keep.sum(-1, keepdim=True)).unsqueeze(0)
        return weigh(attention, x), attention
