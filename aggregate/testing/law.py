"""Laws about tensors: that two of them are equal within a tolerance."""

import torch
from torch import Tensor

from cache_schema.common.law import LawError


def hold_equal(law: str, found: Tensor, expected: Tensor, atol: float, what: str) -> None:
    """Raise, with the largest difference, if two tensors differ by more than `atol`, relative or not."""
    if found.shape != expected.shape:
        raise LawError(law, f"{what}: shapes {tuple(found.shape)} and {tuple(expected.shape)}")
    if not torch.allclose(found, expected, rtol=atol, atol=atol, equal_nan=True):
        worst = float((found.double() - expected.double()).abs().nan_to_num(torch.inf).max())
        raise LawError(law, f"{what}, by up to {worst:.3g}")
