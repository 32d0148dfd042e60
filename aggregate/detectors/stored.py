"""Taking a fitted detector's tensors out of a state, with a sentence where one does not fit."""

from collections.abc import Mapping

from torch import Tensor

from cache_schema.errors import SlicecacheError


def stored(state: Mapping[str, Tensor], name: str, shape: tuple[int | None, ...]) -> Tensor:
    """A copy of a state's tensor.

    Args:
        state: What `Detector.state` gave.
        name: Which tensor.
        shape: What it must be; None for any size.

    Raises:
        SlicecacheError: If it is missing or shaped otherwise.
    """
    found = state.get(name)
    if found is not None and _fits(found, shape):
        return found.detach().clone()
    expected = " x ".join("any" if size is None else str(size) for size in shape) or "one number"
    what = "nothing of that name" if found is None else f"{tuple(found.shape)}"
    raise SlicecacheError(
        f"a fitted detector of this spec holds {name!r} ({expected}), but the state holds {what}; "
        "fit it again, or use the spec that it was fitted with"
    )


def _fits(found: Tensor, shape: tuple[int | None, ...]) -> bool:
    if found.ndim != len(shape):
        return False
    return all(wanted in (None, size) for wanted, size in zip(shape, found.shape, strict=True))
