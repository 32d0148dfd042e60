"""A law that was found broken."""

import torch
from torch import Tensor


class LawError(AssertionError):
    """A part does not keep a law that the engine relies on; `law` is its name."""

    def __init__(self, law: str, found: str) -> None:
        """Say which law, and what was found instead."""
        super().__init__(f"{law}: {found}")
        self.law = law


def hold(condition: bool, law: str, found: str) -> None:
    """Raise where a condition does not hold.

    Args:
        condition: Of the law.
        law: Its name, in a few words.
        found: What was found, what is expected, and what to do.

    Raises:
        LawError: If it is broken.
    """
    if not condition:
        raise LawError(law, found)


def hold_equal(law: str, found: Tensor, expected: Tensor, atol: float, what: str) -> None:
    """Raise, with the largest difference, if two tensors differ by more than `atol`, relative or not."""
    if found.shape != expected.shape:
        raise LawError(law, f"{what}: shapes {tuple(found.shape)} and {tuple(expected.shape)}")
    if not torch.allclose(found, expected, rtol=atol, atol=atol, equal_nan=True):
        worst = float((found.double() - expected.double()).abs().nan_to_num(torch.inf).max())
        raise LawError(law, f"{what}, by up to {worst:.3g}")
