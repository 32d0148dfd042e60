"""One member of a bundle looking at some bags: its outputs as they are, without slices, with others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.heads.base import Head, HeadOutput, Parameters
from aggregate.heads.centring import MEAN, SCALE

NUMBERS_AT_ONCE = 2**21
"""Numbers of tokens that a head is applied to together: few calls, and little memory."""


@dataclass(frozen=True, slots=True)
class View:
    """A head with one member's weights, and bags in memory, in one dtype."""

    head: Head
    parameters: Parameters
    """With a run axis of length 1."""
    bags: Bags
    typical: Float[Tensor, "bag slice dim"] | None = None
    """What the member's training had at each slice's height, where a method asks for it."""

    @property
    def x(self) -> Float[Tensor, "bag slice dim"]:
        """Their tokens."""
        return self.bags.x[:]

    @property
    def keep(self) -> Bool[Tensor, "bag slice"]:
        """True on real slices."""
        return self.bags.keep

    def said(self) -> HeadOutput:
        """Of the bags as they are."""
        with torch.no_grad():
            return self.head(self.parameters, self.x, self.keep, self.bags.height_mm)

    def outputs(
        self, keep: Bool[Tensor, "bag slice"] | None = None, x: Float[Tensor, "bag slice dim"] | None = None
    ) -> Float[Tensor, "bag output"]:
        """Of the bags with fewer slices, or with other tokens."""
        with torch.no_grad():
            return self.head(
                self.parameters,
                self.x if x is None else x,
                self.keep if keep is None else keep,
                self.bags.height_mm,
            ).logits[0]

    def variants(
        self,
        keep: Bool[Tensor, "variant bag slice"],
        x: Callable[[slice], Float[Tensor, "variant bag slice dim"]] | None = None,
    ) -> Float[Tensor, "variant bag output"]:
        """Of the bags in several variants, as many at a time as memory is good for.

        Args:
            keep: Slices of each variant.
            x: Gives the tokens of some variants; by default all have the bags' own.
        """
        at_once = max(1, NUMBERS_AT_ONCE // max(1, self.x.numel()))
        found = []
        for start in range(0, len(keep), at_once):
            part = slice(start, start + at_once)
            some = keep[part]
            tokens = self.x.expand(len(some), *self.x.shape) if x is None else x(part)
            height = self.bags.height_mm.expand(some.shape)
            with torch.no_grad():
                said = self.head(
                    self.parameters, tokens.flatten(0, 1), some.flatten(0, 1), height.flatten(0, 1)
                )
            found.append(said.logits[0].unflatten(0, some.shape[:2]))
        return torch.cat(found)


def view_of(head: Head, state: Mapping[str, Tensor], bags: Bags, typical: Tensor | None = None) -> View:
    """A member's view, in the dtype of its weights."""
    parameters = {name: state[name].unsqueeze(0) for name in head.shapes}
    dtype = parameters["classifier.weight"].dtype
    own = Bags(bags.x[:].to(dtype), bags.keep, bags.height_mm.to(dtype))
    return View(head, parameters, own, None if typical is None else typical.to(dtype))


def precise(head: Head, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A member's weights in float64, or as they are where the head is somebody else's module."""
    own = {name: state[name] for name in head.shapes}
    if head.spec.kind == "custom":
        return own
    return {name: value.double() if value.is_floating_point() else value for name, value in own.items()}


def drawn_at_random(head: Head, state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The control: weights that nobody trained; tokens are centred as the member centres them."""
    dtype = state["classifier.weight"].dtype
    drawn = {name: value[0] for name, value in head.init([seed], dtype).items()}
    return drawn | {name: state[name] for name in (MEAN, SCALE) if name in state}
