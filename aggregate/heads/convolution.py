"""Depthwise convolution along the slices, by each run's own kernels, with its backward written out."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class AlongSlices(torch.autograd.Function):
    """`y_i = sum_j k_j x_(i + j - middle)` for every number of a token by itself, 0 beyond both ends."""

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "run bag slice width"], kernel: Float[Tensor, "run width tap"]
    ) -> Float[Tensor, "run bag slice width"]:
        """An odd number of taps."""
        slices, taps = x.shape[2], kernel.shape[2]
        padded = torch.nn.functional.pad(x, (0, 0, taps // 2, taps // 2))
        found = torch.zeros_like(x)
        for tap in range(taps):
            found.addcmul_(padded[:, :, tap : tap + slices], kernel[:, None, None, :, tap])
        ctx.save_for_backward(padded, kernel)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "run bag slice width"]) -> tuple[Tensor, Tensor]:
        """To the tokens, which lie where the taps were, and to the kernels."""
        padded, kernel = ctx.saved_tensors
        slices, taps = gradient.shape[2], kernel.shape[2]
        grad_padded, grad_kernel = torch.zeros_like(padded), torch.empty_like(kernel)
        for tap in range(taps):
            here = (slice(None), slice(None), slice(tap, tap + slices))
            grad_padded[here].addcmul_(gradient, kernel[:, None, None, :, tap])
            grad_kernel[:, :, tap] = (gradient * padded[here]).sum((1, 2))
        return grad_padded[:, :, taps // 2 : taps // 2 + slices], grad_kernel
