"""What a head is: pool -> embedding -> classifier, every parameter with a leading run axis.

All runs of a call see the same bags: `x` is (bag, slice, dim), and `keep` is True on real slices. One
run is a stack of one. Parameters live outside the head, in a dict, so that many runs are one set of
tensors and a state is just their slice.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pydantic import BeforeValidator, PositiveInt, model_validator
from torch import Tensor

from aggregate.heads.centring import MEAN, SCALE, centred
from aggregate.heads.embedding import ReadOut, Shapes, embedding_shapes, read_out
from aggregate.heads.initial import initial
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.short_forms import reads
from cache_schema.common.strict import Strict

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """What a head says of every bag, for every run."""

    logits: Float[Tensor, "run bag class"]
    embedding: Float[Tensor, "run bag feature"]
    attention: Float[Tensor, "run bag slice"]
    """Sums to 1 over kept slices and is 0 elsewhere; NaN throughout if a custom head gives none."""


Train = Literal["all", "embedding"]


@reads({"enum": ["none", None]})
def _widths(value: Any) -> Any:
    """Read `none` (and YAML's null) as no embedding layers."""
    return () if value in ("none", None) else value


Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(_widths)]


class HeadBase(Strict):
    """What every head has: an embedding of the pooled slices and the choice of what is trained."""

    learned_pool: ClassVar[bool] = True
    """Whether pooling has parameters of its own."""
    learns_by_heart: ClassVar[bool] = False
    """Whether layers behind its attention fit a small cohort within some steps: then training is short."""
    words: ClassVar[str] = ""
    """What a report calls it, where its kind does not say it."""
    kind: str = ""
    """What a head calls itself in the registry."""
    embedding: Widths = ()
    """Widths of the linear layers, each followed by ReLU, before the classifier; `none` for no layer.
    DinoAtten3D's recipes set `[256, 128]`, e.g. `[256, 128]`."""
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

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.kind

    @property
    def pool_learns(self) -> bool:
        """Whether training changes the pool."""
        return self.learned_pool and self.train == "all"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Small heads of this kind, for tokens of 12 numbers: the laws are tried on them."""
        return (cls(embedding=(6, 4)), cls())

    @abstractmethod
    def build(self, dim: int, n_classes: int) -> "Head":
        """Make the head for tokens of `dim` numbers and `n_classes` labels."""


class Head(ABC):
    """A head without its weights: it knows their shapes, draws them, and applies them."""

    def __init__(self, spec: HeadBase, dim: int, n_classes: int) -> None:
        """Fix the shapes for tokens of `dim` numbers and `n_classes` labels."""
        self.spec = spec
        self.dim = dim
        self.n_classes = n_classes

    @abstractmethod
    def pool_shapes(self) -> Shapes:
        """Names and one-run shapes of the pool's own parameters."""

    @property
    def permutation_invariant(self) -> bool:
        """Whether the order of slices has no effect when their heights move along; tested."""
        return True

    @property
    def attends_by_content(self) -> bool:
        """Whether equal tokens get equal attention wherever they lie; tested."""
        return True

    @property
    def pooled_dim(self) -> int:
        """Length of a pooled vector."""
        return self.dim

    @property
    def slice_width(self) -> int:
        """Numbers per slice that a pool in training keeps for its backward; for bounds on memory."""
        return 1

    def prepare(
        self,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> Float[Tensor, "bag slice dim"]:
        """What `pool` reads in place of the tokens: everything before the first parameter.

        It is the same for all runs and epochs, so training does it once; a slice's result may depend on
        that slice alone.
        """
        return x

    @abstractmethod
    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag pooled"], Float[Tensor, "#run bag slice"]]:
        """Prepared bags -> (pooled vectors, attention); the run axis stays 1 if no run differs.

        Finite values at pads have no effect on them.
        """

    @property
    def has_auxiliary(self) -> bool:
        """Whether training adds a term of the head's own to the objective."""
        return False

    def auxiliary(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
        attention: Float[Tensor, "#run bag slice"],
        y: Int[Tensor, " bag"],
    ) -> Float[Tensor, "run bag"]:
        """That term of every bag, weighted as the head's options say.

        Args:
            parameters: Of every run.
            x: Prepared bags, as `pool` had them.
            keep: True on real slices.
            height_mm: Of the slices.
            attention: As `pool` gave it, in the same graph.
            y: Label of every bag.
        """
        raise NotImplementedError

    @property
    def shapes(self) -> Shapes:
        """Names and one-run shapes of all parameters, in the order of the computation."""
        centring: Shapes = {MEAN: (self.dim,), SCALE: ()} if self.spec.centre else {}
        layers = embedding_shapes(self.pooled_dim, self.spec.embedding, self.n_classes)
        return centring | self.pool_shapes() | layers

    @property
    def trainable(self) -> frozenset[str]:
        """Names of the parameters that an optimiser gets."""
        prefixes = ("",) if self.spec.train == "all" else ("embedding.",)
        return frozenset(name for name in self.shapes if name.startswith(prefixes)) - {MEAN, SCALE}

    @property
    def pool_is_fixed(self) -> bool:
        """Whether training leaves the pooled vectors as they are."""
        return not self.trainable & self.pool_shapes().keys()

    @property
    def pool_differs(self) -> bool:
        """Whether pooled vectors depend on the run."""
        return bool(self.pool_shapes())

    def init(self, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw every run's parameters from its own seed, as `heads/initial.py` says.

        Each parameter has its own PCG64 stream, named by it, so that run r begins alike alone or in a
        stack, in any dtype, and whatever other parameters a head has. Centring starts as doing nothing.
        """
        return {name: self._stack(name, shape, seeds, dtype) for name, shape in self.shapes.items()}

    def _stack(
        self, name: str, shape: tuple[int, ...], seeds: Sequence[int], dtype: torch.dtype
    ) -> Float[Tensor, "run ..."]:
        """One parameter of all runs."""
        return torch.from_numpy(np.stack([self._draw(name, shape, seed) for seed in seeds])).to(dtype)

    def _draw(self, name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
        """One parameter of one run."""
        if name in (MEAN, SCALE):
            return np.full(shape, float(name == SCALE))
        weight = name.rpartition(".")[0] + ".weight"
        return initial(name, shape, self.shapes.get(weight, shape)[-1], seed)

    @property
    def starts_as_mean(self) -> bool:
        """Whether it pools the plain mean over kept slices when its parameters are `even`."""
        return False

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """The parameters with those values replaced that make attention even, where some do."""
        return dict(parameters)

    def read_out(self, parameters: Parameters, pooled: Float[Tensor, "#run bag pooled"]) -> ReadOut:
        """Pooled vectors -> embedding and logits."""
        return read_out(parameters, centred(parameters, pooled), len(self.spec.embedding))

    def pooled_gradient(
        self, parameters: Parameters, gradient: Float[Tensor, "run bag pooled"]
    ) -> Float[Tensor, "run bag pooled"]:
        """The gradient of pooled vectors from that of what the layers behind them read."""
        return gradient * parameters[SCALE].view(-1, 1, 1) if SCALE in parameters else gradient

    def __call__(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> HeadOutput:
        """Apply every run's weights; whatever stands at pads has no effect.

        Raises:
            SlicecacheError: If a bag has no kept slice.
        """
        require_slices(keep)
        x, height_mm = x.masked_fill(~keep.unsqueeze(-1), 0), height_mm.masked_fill(~keep, 0)
        pooled, attention = self.pool(parameters, self.prepare(x, keep, height_mm), keep, height_mm)
        found = self.read_out(parameters, pooled)
        return HeadOutput(found.logits, found.embedding, attention.expand(len(found.logits), -1, -1))


def require_slices(keep: Bool[Tensor, "bag slice"]) -> None:
    """Refuse bags without a kept slice: a softmax over nothing has no value.

    Raises:
        SlicecacheError: With the number of such bags and the first one's place.
    """
    empty = (~keep.any(-1)).nonzero()
    if len(empty):
        raise SlicecacheError(
            f"{len(empty)} bag(s) have no kept slice, the first at bag {int(empty[0])}; "
            "leave such volumes out of the cohort"
        )
