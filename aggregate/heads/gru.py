"""The states of many gated recurrent units, step by step, with their backward written out.

    r = sigmoid(gr + Ur s)    z = sigmoid(gz + Uz s)    n = tanh(gn + r * (Un s + c))    s <- n + z * (s - n)

where g is what the unit reads of a slice. All units take a step together; where `keep` is False the state
stays as it is, and nothing reaches g. Autograd would keep several times the tensors, and add up the
gradient of U step by step.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class GruStates(torch.autograd.Function):
    """Units from state 0 through all their slices; gates are r, z and n, one behind the other."""

    @staticmethod
    def forward(
        ctx: Any,
        read: Float[Tensor, "slice unit bag gates"],
        recurrent: Float[Tensor, "unit gates state"],
        bias: Float[Tensor, "unit state"],
        keep: Bool[Tensor, "slice unit bag one"],
    ) -> Float[Tensor, "slice unit bag state"]:
        """The states behind every slice."""
        width = bias.shape[1]
        across = recurrent.transpose(1, 2).contiguous()
        gates, inner = torch.empty_like(read), read.new_empty(*read.shape[:3], width)
        states = read.new_zeros(len(read) + 1, *read.shape[1:3], width)
        for step, real in enumerate(keep):
            before, given, gate = states[step], read[step], gates[step]
            product = torch.bmm(before, across)
            torch.add(
                given[..., : 2 * width], product[..., : 2 * width], out=gate[..., : 2 * width]
            ).sigmoid_()
            r, z, n = gate.split(width, -1)
            torch.add(product[..., 2 * width :], bias.unsqueeze(1), out=inner[step])
            torch.addcmul(given[..., 2 * width :], r, inner[step], out=n).tanh_()
            torch.where(real, torch.lerp(n, before, z), before, out=states[step + 1])
        ctx.save_for_backward(recurrent, gates, inner, states, keep)
        return states[1:]

    @staticmethod
    def backward(
        ctx: Any, gradient: Float[Tensor, "slice unit bag state"]
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """From the last slice back; `products` are the gradients of U s + c."""
        recurrent, gates, inner, states, keep = ctx.saved_tensors
        width = inner.shape[-1]
        read, products = torch.empty_like(gates), torch.empty_like(gates)
        carried = torch.zeros_like(states[0])
        for step in range(len(keep) - 1, -1, -1):
            before, real = states[step], keep[step]
            r, z, n = gates[step].split(width, -1)
            carried = carried + gradient[step]
            new = carried * real
            by_r, by_z, by_n = read[step].split(width, -1)
            torch.mul(new * (1 - z), 1 - n.square(), out=by_n)
            torch.mul(new * (before - n), z * (1 - z), out=by_z)
            torch.mul(by_n * inner[step], r * (1 - r), out=by_r)
            products[step, ..., : 2 * width] = read[step, ..., : 2 * width]
            torch.mul(by_n, r, out=products[step, ..., 2 * width :])
            carried = torch.where(real, new * z, carried)
            carried = torch.baddbmm(carried, products[step], recurrent)
        flat = products.permute(1, 3, 0, 2).flatten(2)
        grad_recurrent = torch.bmm(flat, states[:-1].transpose(0, 1).flatten(1, 2))
        return read, grad_recurrent, products[..., 2 * width :].sum((0, 2)), None
