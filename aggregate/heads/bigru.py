"""A recurrent network that reads the slices from the vertex down and back up, and attention over its states.

A gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) in each direction, as PyTorch has it (see
`heads/gru.py`), and `a = softmax(w . tanh(V o + b))`, `z = sum a_i o_i` over both states o of a slice, as
the Hierarchical Attention Network reads the words of a sentence (Yang et al. 2016, NAACL). PyTorch's second
biases of r and z only add to the first ones and are left out. A bar for what the order of slices gives,
not somebody's system: the widths are ours.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveInt
from torch import Tensor

from aggregate.heads.base import HeadBase, Parameters
from aggregate.heads.centring import scored
from aggregate.heads.embedding import Shapes, linear_shapes
from aggregate.heads.gru import GruStates
from aggregate.heads.order import Descent
from aggregate.heads.own_space import OwnSpaceHead, attend
from aggregate.heads.stacked_linear import stacked_linear

DIRECTIONS, GATES = 2, 3


class BigruSpec(HeadBase):
    """A recurrent network over the slices in both directions, and attention over its states."""

    words: ClassVar[str] = "bidirectional GRU"
    kind: Literal["bigru"] = "bigru"
    state: PositiveInt = 64
    """Numbers of a state; a pooled vector has those of both directions."""
    hidden: PositiveInt = 64
    """Width of the attention's tanh layer."""

    def build(self, dim: int, n_classes: int) -> "BigruHead":
        """Make the head for tokens of this dimension."""
        return BigruHead(self, dim, n_classes)


class BigruHead(OwnSpaceHead):
    """Both directions of all runs take their steps together."""

    def __init__(self, spec: BigruSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.state, self.hidden = spec.state, spec.hidden

    @property
    def attends_by_content(self) -> bool:
        """A state knows what came before it."""
        return False

    @property
    def pooled_dim(self) -> int:
        """A state of each direction."""
        return DIRECTIONS * self.state

    @property
    def slice_width(self) -> int:
        """What a step reads, its gates, state and gradients, and the attention's layer with its own."""
        return DIRECTIONS * 7 * GATES * self.state + 3 * self.hidden

    def pool_shapes(self) -> Shapes:
        """`gru.read` and `gru.recurrent` hold r, z and n, first all of the way down, then of the way up."""
        units, state = DIRECTIONS * self.state, self.state
        shapes = linear_shapes("gru.read", self.dim, GATES * units)
        shapes |= {"gru.recurrent.weight": (GATES * units, state), "gru.recurrent.bias": (units,)}
        shapes |= linear_shapes("attention.project", units, self.hidden)
        return shapes | {"attention.score.weight": (self.hidden,)}

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """Scores are 0: the mean of the states, which begin as drawn."""
        return {
            **parameters,
            "attention.score.weight": torch.zeros_like(parameters["attention.score.weight"]),
        }

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag pooled"], Float[Tensor, "#run bag slice"]]:
        """The mean of the states by every run's own attention."""
        order = Descent.of(keep, height_mm)
        weight, bias, tokens = scored(
            parameters, parameters["gru.read.weight"], parameters["gru.read.bias"], order.sorted(x)
        )
        real = order.sorted(keep.unsqueeze(-1))
        states = self._states(parameters, by_slice(weight, bias, tokens), real.transpose(0, 1))
        hidden = stacked_linear(parameters, "attention.project", states.flatten(1, 2)).tanh()
        scores = torch.bmm(hidden, parameters["attention.score.weight"].unsqueeze(2))
        pooled, attention = attend(scores.view(len(weight), *keep.shape), states, real.squeeze(-1))
        return pooled, order.restored(attention)

    def _states(
        self,
        parameters: Parameters,
        read: Float[Tensor, "slice run bag both"],
        keep: Bool[Tensor, "slice bag one"],
    ) -> Float[Tensor, "run bag slice both"]:
        """The states of both directions behind each slice; the way up has the slices in reverse."""
        down, up = read.chunk(DIRECTIONS, -1)
        runs = read.shape[1]
        units = torch.stack([down, up.flip(0)], 2).flatten(1, 2)
        real = torch.stack([keep, keep.flip(0)], 1).repeat(1, runs, 1, 1)
        recurrent = parameters["gru.recurrent.weight"].unflatten(1, (DIRECTIONS, -1)).flatten(0, 1)
        bias = parameters["gru.recurrent.bias"].unflatten(1, (DIRECTIONS, -1)).flatten(0, 1)
        states = GruStates.apply(units, recurrent, bias, real).unflatten(1, (runs, DIRECTIONS))
        both = torch.cat([states[:, :, 0], states[:, :, 1].flip(0)], -1)
        return both.permute(1, 2, 0, 3)


def by_slice(
    weight: Float[Tensor, "run out dim"],
    bias: Float[Tensor, "run out"],
    tokens: Float[Tensor, "bag slice dim"],
) -> Float[Tensor, "slice run bag out"]:
    """`W h + b` of every slice by each run's own weights, slice by slice."""
    found = torch.addmm(bias.flatten(), tokens.transpose(0, 1).flatten(0, 1), weight.flatten(0, 1).T)
    return found.view(tokens.shape[1], tokens.shape[0], len(weight), -1).transpose(1, 2)
