"""Where the DPMM starts: means drawn evenly over the normal cache or the first K tokens, sticks, variance."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.anomaly.arithmetic.mixture.rules import DpmmRules

_DRAW, _STICKS, _MEANS = 0, 1, 2


class EvenDraw:
    """K of all tokens that go by, each set of K as likely as another, in memory for K.

    Every token gets a random key from the seed and its place in the stream; the K smallest stay, in
    the order of their keys.
    """

    def __init__(self, components: int, dim: int, seed: int) -> None:
        self.seed = seed
        self.components = components
        self.keys = torch.empty(0, dtype=torch.float64)
        self.tokens = torch.empty(0, dim, dtype=torch.float64)

    def observe(self, tokens: Float[Tensor, "token dim"], batch: int) -> None:
        """Take in a batch, counted from 0."""
        stream = np.random.Generator(np.random.PCG64([self.seed, batch, _DRAW]))
        keys = torch.cat([self.keys, torch.from_numpy(stream.random(len(tokens)))])
        self.keys, kept = keys.sort(stable=True)
        self.keys, kept = self.keys[: self.components], kept[: self.components]
        self.tokens = torch.cat([self.tokens, tokens])[kept]

    def state(self) -> dict[str, Tensor]:
        """What was drawn so far."""
        return {"draw.keys": self.keys.clone(), "draw.tokens": self.tokens.clone()}


def first_sticks(components: int, concentration: float, seed: int) -> Float[Tensor, " component"]:
    """`v_k ~ Beta(1, alpha)`, `v_K = 1`, float64."""
    stream = np.random.Generator(np.random.PCG64([seed, _STICKS]))
    share = torch.from_numpy(stream.beta(1.0, concentration, components))
    share[-1] = 1
    return share


def first_means(
    tokens: Float[Tensor, "token dim"], components: int, seed: int, rules: DpmmRules
) -> Float[Tensor, "component dim"]:
    """The first K tokens, by the rules for their order and for what stands in where there are fewer."""
    if rules.start == "cycled":
        return tokens[torch.arange(components) % len(tokens)]
    stream = np.random.Generator(np.random.PCG64([seed, _MEANS]))
    order = torch.from_numpy(stream.permutation(min(components, len(tokens))))
    drawn = torch.from_numpy(stream.standard_normal((components - len(order), tokens.shape[1])))
    return torch.cat([tokens[order], drawn])


def first_covariance(
    tokens: Float[Tensor, "token dim"], full: bool, reg: float, rules: DpmmRules
) -> Float[Tensor, "dim ..."]:
    """The variance of the tokens at hand, which all components start from; diagonal but in its shape."""
    unbiased = rules.start == "permuted" and len(tokens) > 1
    variance = tokens.var(0, correction=int(unbiased)) + reg
    return torch.diag(variance) if full else variance
