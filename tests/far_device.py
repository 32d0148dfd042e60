"""A device that is far away, on a machine without one: its tensors say that they are elsewhere.

Far tensors hold their numbers near, so that results are the CPU's, and refuse what a GPU's refuse: one
operation on both kinds, and numpy. What is copied between both sides is written down.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

FAR = torch.device("meta")
"""A kind of device that every build of torch takes for one."""
BY_PLACES = ("aten::index", "aten::index_put_", "aten::_index_put_impl_")
"""What may take its places from the CPU."""


@dataclass(frozen=True, slots=True)
class Copied:
    """One copy from one side to the other."""

    there: bool
    """To the device; else back."""
    dtype: torch.dtype
    elements: int
    waits: bool
    """Until it is done."""
    pinned: bool


class FarTensor(Tensor):
    """Says that it is elsewhere, and holds its numbers beside it."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> "FarTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=FAR,
        )
        made.near = near
        return made

    def __init__(self, near: Tensor) -> None:
        pass

    def tolist(self) -> Any:
        return self.near.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of `far_device`")


class _Calls(TorchFunctionMode):
    """What torch would settle before it asks: tensors of Python's numbers, and pinned memory."""

    def __init__(self, pinned: set[int]) -> None:
        super().__init__()
        self.pinned = pinned

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and _is_far(kwargs.get("device")):
            given = args[0].near if isinstance(args[0], FarTensor) else args[0]
            return FarTensor(func(given, *args[1:], **{**kwargs, "device": "cpu"}))
        if func is Tensor.new_tensor and isinstance(args[0], FarTensor):
            near = torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype))
            return FarTensor(near)
        if func is Tensor.__getitem__ and isinstance(args[1], list):
            return func(args[0], torch.tensor(args[1]))
        if func is Tensor.pin_memory:
            copy = args[0].clone()
            self.pinned.add(copy.data_ptr())
            return copy
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    """Every operation, on the near numbers."""

    def __init__(self, pinned: set[int]) -> None:
        super().__init__()
        self.pinned = pinned
        self.copied: list[Copied] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        far = {id(leaf.near): leaf for leaf in given if isinstance(leaf, FarTensor)}
        goes_far = self._goes_far(func._schema.name, args, kwargs, far, given)
        found = func(*tree_map(_near, args), **tree_map(_near, kwargs))

        def back(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if id(leaf) in far:
                return far[id(leaf)]
            return FarTensor(leaf) if goes_far else leaf

        return tree_map(back, found)

    def _goes_far(self, name: str, args: Any, kwargs: Any, far: Any, given: list[Tensor]) -> bool:
        """Where the result is; refuses what torch would."""
        mixed = bool(far) and any(leaf.ndim for leaf in given if not isinstance(leaf, FarTensor))
        if name in ("aten::_to_copy", "aten::copy_"):
            begins = isinstance(args[-1 if name == "aten::copy_" else 0], FarTensor)
            asked = kwargs.get("device")
            ends = isinstance(args[0], FarTensor) if asked is None else _is_far(asked)
            if begins != ends:
                source = args[1] if name == "aten::copy_" else args[0]
                self._note(source, ends, kwargs.get("non_blocking", False))
            return ends
        if name in BY_PLACES:
            if far and not isinstance(args[0], FarTensor):
                raise RuntimeError(f"{name}: a tensor on the CPU cannot be read by places that are far")
        elif mixed:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        asked = kwargs.get("device")
        return bool(far) if asked is None else _is_far(asked)

    def _note(self, source: Tensor, there: bool, non_blocking: bool) -> None:
        pinned = not isinstance(source, FarTensor) and source.data_ptr() in self.pinned
        self.copied.append(Copied(there, source.dtype, source.numel(), not non_blocking, pinned))


def _is_far(asked: Any) -> bool:
    return asked is not None and torch.device(asked) == FAR


def _near(leaf: Any) -> Any:
    if isinstance(leaf, FarTensor):
        return leaf.near
    return torch.device("cpu") if isinstance(leaf, torch.device) else leaf


@contextmanager
def far_device() -> Iterator[list[Copied]]:
    """Have it meanwhile, in this thread; what is copied from and to it."""
    pinned: set[int] = set()
    operations = _Operations(pinned)
    with _Calls(pinned), operations:
        yield operations.copied
