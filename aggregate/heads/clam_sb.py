"""CLAM with a single attention branch: gated attention on learned features, and a loss on single slices.

Lu et al. 2021 (Nature Biomedical Engineering, arXiv 2004.09666) and its code: `v = ReLU(W h + b)` of 512
numbers, `a = softmax(w . (tanh(V v + c) * sigmoid(U v + d)))` with layers of 256, `z = sum a_i v_i`. Beside
the bag's loss, an instance classifier of the bag's own class takes the 8 slices of highest attention for
evidence and the 8 of lowest for none, by the smooth SVM loss of two classes with temperature and margin 1,
which is `softplus(1 - u)` and `softplus(1 + u)` of their difference u; 0.7 of the bag's loss and 0.3 of this.

Ours: 0.3 / 0.7 = 0.43 of it beside what `loss:` says; one number u per class for two that only count by
their difference; a bag of fewer than 16 slices takes half of them for each side, and one of a single slice
has no such term; no dropout; no evidence against the other classes (their `subtyping`).
"""

from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from aggregate.heads.base import HeadBase, Parameters
from aggregate.heads.centring import scored
from aggregate.heads.embedding import Shapes, linear, linear_shapes
from aggregate.heads.own_space import OwnSpaceHead, attend
from aggregate.heads.stacked_linear import StackedLinear, stacked_linear


class ClamSbSpec(HeadBase):
    """CLAM's single branch: gated attention on learned features, with a loss on single slices."""

    words: ClassVar[str] = "CLAM-SB"
    kind: Literal["clam_sb"] = "clam_sb"
    features: PositiveInt = 512
    """Width of the ReLU layer, and of a pooled vector."""
    hidden: PositiveInt = 256
    """Width of the attention's tanh layer and of its gate."""
    k: PositiveInt = 8
    """Slices of highest, and of lowest attention that the instance loss is on."""
    instance_weight: float = Field(default=0.43, ge=0)
    """Of the instance loss beside the others; 0 is gated attention on features alone."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Small ones, with and without the instance loss."""
        small = {"features": 7, "hidden": 5}
        return (cls(**small, k=2, embedding=(6, 4)), cls(**small), cls(**small, instance_weight=0))

    def build(self, dim: int, n_classes: int) -> "ClamSbHead":
        """Make the head for tokens of this dimension."""
        return ClamSbHead(self, dim, n_classes)


class ClamSbHead(OwnSpaceHead):
    """Attention and instance classifiers on the same features."""

    def __init__(self, spec: ClamSbSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.features, self.hidden, self.k = spec.features, spec.hidden, spec.k
        self.instance_weight = spec.instance_weight

    @property
    def pooled_dim(self) -> int:
        """A slice's features."""
        return self.features

    @property
    def slice_width(self) -> int:
        """Features, both layers and their product, and the gradients of these."""
        return 4 * self.features + 8 * self.hidden

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """As drawn, which is close to even: where all are level, no slice is evidence more than another."""
        return dict(parameters)

    @property
    def has_auxiliary(self) -> bool:
        """The instance loss, if it weighs anything."""
        return self.instance_weight > 0

    def pool_shapes(self) -> Shapes:
        """`attention.project` is V and c above U and d; `instance` has a row for each class."""
        shapes = linear_shapes("feature", self.dim, self.features)
        shapes |= linear_shapes("attention.project", self.features, 2 * self.hidden)
        shapes |= {"attention.score.weight": (self.hidden,)}
        return shapes | (
            linear_shapes("instance", self.features, self.n_classes) if self.has_auxiliary else {}
        )

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag feature"], Float[Tensor, "#run bag slice"]]:
        """Every run's own attention and the mean of its features by it."""
        weight, bias, tokens = self._scored(parameters, x)
        runs = len(weight)
        features = StackedLinear.apply(weight, bias, tokens.flatten(0, 1).expand(runs, -1, -1)).relu()
        value, gate = stacked_linear(parameters, "attention.project", features).chunk(2, -1)
        gated = value.tanh() * gate.sigmoid()
        scores = torch.bmm(gated, parameters["attention.score.weight"].unsqueeze(2))
        shape = (runs, *keep.shape)
        return attend(scores.view(shape), features.view(*shape, -1), keep)

    def auxiliary(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
        attention: Float[Tensor, "#run bag slice"],
        y: Int[Tensor, " bag"],
    ) -> Float[Tensor, "run bag"]:
        """The mean loss of the most and the least attended slices, which are given features once more."""
        index, sides, count = self._chosen(attention.detach(), keep)
        weight, bias, tokens = self._scored(parameters, x)
        runs, bags, chosen = index.shape
        picked = tokens[torch.arange(bags, device=index.device).view(1, -1, 1), index]
        features = StackedLinear.apply(weight, bias, picked.flatten(1, 2)).relu()
        evidence = linear(parameters, "instance", features).view(runs, bags, chosen, -1)
        own = evidence.gather(3, y.view(1, -1, 1, 1).expand(runs, -1, chosen, 1)).squeeze(3)
        losses = torch.nn.functional.softplus(1 - sides * own) * (sides != 0)
        return self.instance_weight * losses.sum(2) / (2 * count).clamp_min(1)

    def _scored(
        self, parameters: Parameters, x: Float[Tensor, "bag slice dim"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The ReLU layer and tokens that together read centred tokens."""
        return scored(parameters, parameters["feature.weight"], parameters["feature.bias"], x)

    def _chosen(
        self, attention: Float[Tensor, "run bag slice"], keep: Bool[Tensor, "bag slice"]
    ) -> tuple[Int[Tensor, "run bag chosen"], Float[Tensor, "bag chosen"], Int[Tensor, " bag"]]:
        """The slices in question, 1 for evidence and -1 for none (0 fills up), and how many a side has."""
        k = max(1, min(self.k, keep.shape[1] // 2))
        n = keep.sum(1, keepdim=True)
        # One order for both sides, so that slices that are level are never on both.
        order = attention.masked_fill(~keep, 2).argsort(dim=-1, stable=True)
        first = torch.arange(k, device=keep.device).expand(len(keep), -1)
        places = torch.cat([n - 1 - first, first], 1).clamp_min(0)
        count = (n // 2).clamp_max(k)
        side = (first < count).to(attention.dtype)
        index = order.gather(2, places.expand(len(order), -1, -1))
        return index, torch.cat([side, -side], 1), count.squeeze(1)
