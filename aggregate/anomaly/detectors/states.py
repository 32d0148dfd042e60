"""Taking a detector's state apart, with one sentence when it is another detector's."""

from collections.abc import Mapping

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
