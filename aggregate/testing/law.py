"""What a broken law is."""

import torch
from torch import Tensor


class LawBroken(AssertionError):
    """A part does not keep a law of its kind."""

    def __init__(self, law: str, finding: str) -> None:
        """Name the law, and say what was found."""
        self.law, self.finding = law, finding
        super().__init__(f"law {law!r}: {finding}")


def hold(law: str, kept: bool, finding: str) -> None:
    """Raise if the law is not kept."""
    if not kept:
        raise LawBroken(law, finding)


def hold_equal(law: str, found: Tensor, expected: Tensor, atol: float, what: str) -> None:
    """Raise, with the largest difference, if two tensors differ by more than `atol`, relative or not."""
    if found.shape != expected.shape:
        raise LawBroken(law, f"{what}: shapes {tuple(found.shape)} and {tuple(expected.shape)}")
    if not torch.allclose(found, expected, rtol=atol, atol=atol, equal_nan=True):
        worst = float((found.double() - expected.double()).abs().nan_to_num(torch.inf).max())
        raise LawBroken(law, f"{what}, by up to {worst:.3g}")
