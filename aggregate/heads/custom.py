"""Somebody else's head: any `nn.Module` of `(x, keep, height_mm) -> (pooled, attention)`.

`x` is (bag, slice, dim) and 0 at pads, `keep` (bag, slice) is True on real slices, `height_mm` (bag, slice)
is the distance below the vertex; `pooled` is (bag, features), and `attention` (bag, slice) sums to 1 over
kept slices and is 0 elsewhere, or is None. It is made as `Name(dim, **options)`; embedding and classifier
behind the pool are ours, as for every head:

    head: {kind: custom, target: "package.module:Name", options: {hidden: 32}, embedding: [64]}

Each run draws its first weights from its own seed. Runs are computed by `torch.func.vmap` or one by one,
whichever one timed step finds faster (`stacking`); a module that vmap refuses goes one by one. A module
that draws numbers while it trains (dropout) goes one by one as well, each step of a run from a seed of its
own, so that its numbers are the same alone or beside others; threads then take turns in its forward.
A buffer that training changes (BatchNorm's running statistics) is refused; buffers that stay are kept with
the weights.
"""

import copy
from collections.abc import Sequence
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.centring import MEAN, SCALE
from aggregate.heads.embedding import ReadOut, Shapes, read_out
from aggregate.heads.module import State, by_loop, by_vmap, look_at, make_module, state_of, unbound
from cache_schema.common.custom import CustomSpec
from cache_schema.common.errors import ConfigError

PREFIX = "pool."
"""Before the module's own names among the parameters."""
Way = Literal["vmap", "loop"]


class CustomHeadSpec(HeadBase, CustomSpec):
    """A pool of somebody else's; embedding and classifier behind it are ours."""

    kind: Literal["custom"] = "custom"
    stacking: Literal["auto", "vmap", "loop"] = "auto"
    """How runs are computed; `auto` times a step of both. They agree to 1e-10 in float64, and in float32
    to what arithmetic in another order gives: name one where bytes must be the same again."""

    @property
    def name(self) -> str:
        """The class's name."""
        return self.target.rpartition(":")[2].rpartition(".")[2]

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """None of ours."""
        return ()

    def build(self, dim: int, n_classes: int) -> "CustomHead":
        """Make the head for tokens of this dimension.

        Raises:
            ConfigError: If nobody permitted the target, or what it makes is no head.
        """
        return CustomHead(self, dim, n_classes)


class CustomHead(Head):
    """A module as a pool; not to be used by several threads at once."""

    spec: CustomHeadSpec

    def __init__(self, spec: CustomHeadSpec, dim: int, n_classes: int) -> None:
        """Make the module and look at it.

        Raises:
            ConfigError: As `CustomHeadSpec.build`.
        """
        super().__init__(spec, dim, n_classes)
        self.module = make_module(spec.target, spec.options, dim, 0).eval()
        self.trainer = copy.deepcopy(self.module).train()
        self.facts = look_at(copy.deepcopy(self.trainer), dim, spec.target)
        self.shapes_of_pool: Shapes = {
            PREFIX + name: tuple(value.shape) for name, value in state_of(self.module).items()
        }
        self.way: Way = "vmap" if spec.stacking == "vmap" else "loop"
        """Of `pool`; training has found out by then."""

    @property
    def pooled_dim(self) -> int:
        """As the module gives them."""
        return self.facts.pooled_dim

    @property
    def slice_width(self) -> int:
        """What was seen to be kept, and the batch itself, which vmap stacks."""
        return self.facts.slice_width + self.dim

    def pool_shapes(self) -> Shapes:
        """The module's parameters and buffers, named `pool.` and as it calls them."""
        return self.shapes_of_pool

    @property
    def trainable(self) -> frozenset[str]:
        """Without buffers, and what the module itself does not train."""
        learned = {PREFIX + name for name, value in self.module.named_parameters() if value.requires_grad}
        return super().trainable - (self.pool_shapes().keys() - learned)

    @property
    def pool_is_fixed(self) -> bool:
        """Not if it draws numbers."""
        return super().pool_is_fixed and not (self.facts.random and self.spec.train == "all")

    @property
    def pool_differs(self) -> bool:
        """The module sees tokens that are centred already, so runs of other folds differ."""
        return super().pool_differs or self.spec.centre

    def init(self, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The module draws its own weights, in float32 whatever the dtype; the rest is drawn as ever."""
        spec = self.spec
        states = [state_of(make_module(spec.target, spec.options, self.dim, seed)) for seed in seeds]
        pool = {PREFIX + name: torch.stack([state[name] for state in states]) for name in states[0]}
        pool = {name: value.to(dtype) if value.is_floating_point() else value for name, value in pool.items()}
        rest = {name: shape for name, shape in self.shapes.items() if name not in pool}
        drawn = {name: self._stack(name, shape, seeds, dtype) for name, shape in rest.items()}
        return {name: pool[name] if name in pool else drawn[name] for name in self.shapes}

    def state(self, parameters: Parameters) -> State:
        """The module's part of the parameters, by its own names."""
        return {name.removeprefix(PREFIX): parameters[name] for name in self.pool_shapes()}

    def tokens(
        self,
        parameters: Parameters,
        run: int,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
    ) -> Float[Tensor, "bag slice dim"]:
        """What the module reads: centred as this run's training slices say; pads are 0 and stay it."""
        if MEAN not in parameters:
            return x
        centred = (x - parameters[MEAN][run]).mul_(parameters[SCALE][run])
        return centred.masked_fill_(~keep.unsqueeze(-1), 0)

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag pooled"], Float[Tensor, "#run bag slice"]]:
        """What the module gives when it does not train; attention is NaN where it gives none."""
        state = self.state(parameters)
        runs = len(parameters["classifier.weight"]) if self.pool_differs else 1
        x = x.masked_fill(~keep.unsqueeze(-1), 0)
        alike = runs == 1 or _alike(parameters)
        first = (self.tokens(parameters, 0, x, keep), keep, height_mm)
        if self.way == "vmap" and alike and runs > 1 and state:
            one = tuple(part.unsqueeze(0) for part in first)
            try:
                pooled, attention = by_vmap(self.module, state, (one[0], one[1], one[2]), 1)
            except Exception as error:
                raise vmap_refuses(self.spec.target, error) from error
        else:
            # One after another, since each run of another fold has a copy of the tokens.
            batches = (
                first if alike or not run else (self.tokens(parameters, run, x, keep), keep, height_mm)
                for run in range(runs)
            )
            pooled, attention = by_loop(self.module, unbound(state, runs), batches)
        return pooled, pooled.new_full((1, *keep.shape), torch.nan) if attention is None else attention

    def read_out(self, parameters: Parameters, pooled: Float[Tensor, "#run bag pooled"]) -> ReadOut:
        """Pooled vectors are as the module gave them: its tokens were centred."""
        return read_out(parameters, pooled, len(self.spec.embedding))

    def pooled_gradient(
        self, parameters: Parameters, gradient: Float[Tensor, "run bag pooled"]
    ) -> Float[Tensor, "run bag pooled"]:
        """Nothing lies between."""
        return gradient


def vmap_refuses(target: str, error: Exception) -> ConfigError:
    """What is said of a module that was asked to be stacked by vmap and cannot be."""
    return ConfigError(f"vmap refuses the head {target!r}; set head.stacking: loop ({error})")


def _alike(parameters: Parameters) -> bool:
    """Whether all runs centre their tokens alike."""
    if MEAN not in parameters:
        return True
    mean, scale = parameters[MEAN], parameters[SCALE]
    return bool((mean == mean[:1]).all()) and bool((scale == scale[:1]).all())
