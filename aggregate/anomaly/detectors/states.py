"""Taking a detector's state apart, with one sentence when it is another detector's.

That of a `torch.nn.Module` is its parameters and buffers; buffers may grow while it is fitted, as a bank of
tokens does.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from aggregate.anomaly.detectors.base import Detector
from cache_schema.common.errors import SlicecacheError


def expect(
    state: Mapping[str, Tensor], detector: Detector, **shapes: tuple[int | None, ...]
) -> tuple[Tensor, ...]:
    """The named tensors, in the order of the names.

    Args:
        state: What was stored.
        detector: Whose it should be.
        **shapes: By name; None stands for any length.

    Raises:
        SlicecacheError: If a name is missing or too many, or a shape is another one.
    """
    found = {name: tuple(value.shape) for name, value in state.items()}
    wrong = sorted(
        name
        for name in found.keys() | shapes.keys()
        if name not in found or name not in shapes or not _fits(found[name], shapes[name])
    )
    if wrong:
        raise SlicecacheError(
            f"this state is not one of this {detector.spec.kind} detector: it differs in {', '.join(wrong)}; "
            "fit it again"
        )
    return tuple(state[name] for name in shapes)


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape is the wanted one."""
    return len(found) == len(wanted) and all(b in (None, a) for a, b in zip(found, wanted, strict=True))


def module_state(module: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; a buffer that is None is left out."""
    return {name: value for name, _, _, value in _slots(module) if value is not None}


def load_module(module: torch.nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Put a state into a module; a buffer takes the shape that the state has.

    Args:
        module: Fresh.
        state: What `module_state` gave.
        what: Names the module in errors.

    Raises:
        SlicecacheError: If a name is missing or too many, or a parameter has another shape.
    """
    slots = {name: (holder, own, value) for name, holder, own, value in _slots(module)}
    wrong = {name for name in state if name not in slots}
    wrong |= {name for name, (_, _, value) in slots.items() if value is not None and name not in state}
    wrong |= {
        name
        for name, (holder, own, value) in slots.items()
        if name in state and own in holder._parameters and (value is None or value.shape != state[name].shape)
    }
    if wrong:
        raise SlicecacheError(
            f"this state is not one of {what}: it differs in {', '.join(sorted(wrong))}; fit it again"
        )
    for name, (holder, own, value) in slots.items():
        if own in holder._buffers:
            holder._buffers[own] = state[name].clone() if name in state else None
        elif value is not None:
            value.data.copy_(state[name])


def _slots(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, str, Tensor | None]]:
    """Full name, holder, own name and value of everything that may be stored."""
    for prefix, holder in module.named_modules():
        before = f"{prefix}." if prefix else ""
        for own, value in [*holder._parameters.items(), *holder._buffers.items()]:
            if own not in holder._non_persistent_buffers_set:
                yield before + own, holder, own, value
