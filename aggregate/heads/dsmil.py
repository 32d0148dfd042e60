"""Dual-stream MIL: attention by likeness to each class's critical slice, and a loss on that slice.

Li et al. 2021 (CVPR, arXiv 2011.08939): an instance classifier scores every slice for every class, and the
highest is the class's critical slice, `m = argmax_i s_c(h_i)`; with `q = W h + b` of 128 numbers
`a = softmax(q_i . q_m / sqrt(128))` and `B_c = sum a_i h_i` for each class, all of which one linear bag
classifier reads. (Their values are a linear layer in the paper and the tokens themselves by default in the
released code, as here: the classifier is linear too.) Their loss is half that of the bag's logits and half
that of the critical slices' scores, and their prediction the mean of both.

Ours: pooled vectors are the bag stream, B_c side by side, and predictions are its logits alone; the
instance stream is a term of the objective, the cross entropy of the critical slices' scores, weighted by 1
beside the bag's. Only through it does the instance classifier train, since an argmax has no gradient. Labels
exclude each other here, so two classes have two streams. Attention is the mean over them.
"""

from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.centring import scored
from aggregate.heads.embedding import Shapes, linear_shapes
from aggregate.heads.products import project, weigh


class DsmilSpec(HeadBase):
    """Attention by likeness to the critical slice of each class, with a loss on those slices."""

    words: ClassVar[str] = "DSMIL"
    kind: Literal["dsmil"] = "dsmil"
    query: PositiveInt = 128
    """Numbers of a query."""
    instance_weight: float = Field(default=1.0, gt=0)
    """Of the critical slices' cross entropy beside the losses of the bag."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Small ones."""
        return (cls(query=5, embedding=(6, 4)), cls(query=5))

    def build(self, dim: int, n_classes: int) -> "DsmilHead":
        """Make the head for tokens of this dimension."""
        return DsmilHead(self, dim, n_classes)


class DsmilHead(Head):
    """A stream for each class; the pooled vectors are concatenated."""

    def __init__(self, spec: DsmilSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.query, self.instance_weight = spec.query, spec.instance_weight

    @property
    def pooled_dim(self) -> int:
        """One token's numbers per class."""
        return self.n_classes * self.dim

    @property
    def slice_width(self) -> int:
        """Queries and scores, their copies in another order, and the gradients of these."""
        return 6 * (self.query + self.n_classes)

    @property
    def has_auxiliary(self) -> bool:
        """The instance stream."""
        return True

    def pool_shapes(self) -> Shapes:
        """`instance` scores slices for each class, `query` is W and b."""
        instance = linear_shapes("instance", self.dim, self.n_classes)
        return instance | linear_shapes("query", self.dim, self.query)

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """All queries are the bias, so every slice is as like the critical one as any other."""
        return {**parameters, "query.weight": torch.zeros_like(parameters["query.weight"])}

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag pooled"], Float[Tensor, "#run bag slice"]]:
        """The means by every class's attention, one behind the other, and the mean of the attentions."""
        with torch.no_grad():
            critical = self._scores(parameters, x, keep).argmax(-1)
        weight, bias, tokens = scored(parameters, parameters["query.weight"], parameters["query.bias"], x)
        queries = (project(weight, tokens) + bias.unsqueeze(2)).unflatten(2, keep.shape).transpose(1, 2)
        place = critical.transpose(1, 2).unsqueeze(2).expand(-1, -1, self.query, -1)
        asked = queries.gather(3, place) * self.query**-0.5
        scores = torch.matmul(asked.transpose(2, 3), queries)
        attention = scores.masked_fill(~keep.unsqueeze(1), -torch.inf).softmax(-1)
        pooled = weigh(attention.transpose(1, 2).flatten(0, 1), x)
        side_by_side = pooled.unflatten(0, (-1, self.n_classes)).transpose(1, 2).flatten(2)
        return side_by_side, attention.mean(2)

    def auxiliary(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
        attention: Float[Tensor, "#run bag slice"],
        y: Int[Tensor, " bag"],
    ) -> Float[Tensor, "run bag"]:
        """The cross entropy of the critical slices' scores."""
        logits = self._scores(parameters, x, keep).amax(-1)
        index = y.view(1, 1, -1).expand(len(logits), -1, -1)
        return -self.instance_weight * logits.log_softmax(1).gather(1, index).squeeze(1)

    def _scores(
        self, parameters: Parameters, x: Float[Tensor, "bag slice dim"], keep: Bool[Tensor, "bag slice"]
    ) -> Float[Tensor, "run class bag slice"]:
        """`s_c(h_i)` of kept slices."""
        given = (parameters["instance.weight"], parameters["instance.bias"], x)
        weight, bias, tokens = scored(parameters, *given)
        scores = (project(weight, tokens) + bias.unsqueeze(2)).unflatten(2, keep.shape)
        return scores.masked_fill(~keep, -torch.inf)
