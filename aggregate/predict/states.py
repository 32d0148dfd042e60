"""Whether the weights of a bundle are those of its head: before they are written, and when they are read."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cache_schema.common.errors import SlicecacheError


class Named(Protocol):
    """A member, as far as it matters here."""

    @property
    def name(self) -> str:
        """Of the member."""
        ...


def check_states(
    shapes: Mapping[str, tuple[int, ...]],
    members: Sequence[Named],
    states: Sequence[Mapping[str, Tensor]],
    where: str,
) -> None:
    """Refuse weights that do not fit the head.

    Args:
        shapes: Of the head's parameters.
        members: Of the bundle.
        states: Weights of each.
        where: The bundle.

    Raises:
        SlicecacheError: Naming the first member and the parameters in question.
    """
    if len(states) != len(members):
        raise SlicecacheError(
            f"the bundle {where} names {len(members)} members and has weights of {len(states)}"
        )
    for member, state in zip(members, states, strict=True):
        found = {name: tuple(value.shape) for name, value in state.items()}
        wrong = sorted(name for name in {**shapes, **found} if shapes.get(name) != found.get(name))
        if wrong:
            raise SlicecacheError(
                f"member {member.name!r} of the bundle {where} does not fit its head in {', '.join(wrong)}"
            )
    kinds = {value.dtype for state in states for value in state.values()}
    if len(kinds) > 1 or not kinds <= {torch.float32, torch.float64}:
        raise SlicecacheError(
            f"the weights of the bundle {where} must be float32 throughout (or float64), not "
            f"{', '.join(sorted(map(str, kinds)))}"
        )
