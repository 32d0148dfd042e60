"""The mixture of the best epoch, reduced to its living components: what scores, and what a bundle holds."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from aggregate.anomaly.arithmetic.mixture.rules import living
from aggregate.anomaly.arithmetic.mixture.update import Mixture


class KeptMixture:
    """None until the first epoch with a mixture is over."""

    def __init__(self) -> None:
        self.mixture: Mixture | None = None
        self.loss = math.inf

    def offer(self, mixture: Mixture, held_out: float | None) -> None:
        """Keep a mixture if held-out tokens are likelier under it than under the kept one."""
        if self.mixture is None or held_out is None or held_out < self.loss:
            self.mixture = mixture.take(living(mixture.log_weight))
            self.loss = math.inf if held_out is None else held_out

    def state(self) -> dict[str, Tensor]:
        """What is kept."""
        state = {"best.loss": torch.tensor(self.loss, dtype=torch.float64)}
        if self.mixture is None:
            return state
        return state | {
            "best.log_weight": self.mixture.log_weight.clone(),
            "best.mean": self.mixture.mean.clone(),
            "best.covariance": self.mixture.covariance.clone(),
        }

    def shapes(
        self, state: Mapping[str, Tensor], width: int, full: bool, needed: bool
    ) -> dict[str, tuple[int | None, ...]]:
        """Of the tensors that `state` gives.

        Args:
            state: Says how many components were kept.
            width: Of a token.
            full: Whether covariances are.
            needed: Whether there must be a mixture.
        """
        if not needed and not any(name.startswith("best.") and name != "best.loss" for name in state):
            return {"best.loss": ()}
        kept = tuple(state["best.mean"].shape[:1]) if "best.mean" in state else (None,)
        covariance = (*kept, width, width) if full else (*kept, width)
        own = {"best.log_weight": kept, "best.mean": (*kept, width), "best.covariance": covariance}
        return {"best.loss": (), **own}

    def load(self, found: Mapping[str, Tensor], reg: float) -> None:
        """Take tensors of those shapes."""
        self.loss = float(found["best.loss"])
        if "best.mean" in found:
            names = ("best.log_weight", "best.mean", "best.covariance")
            weight, mean, covariance = (found[name] for name in names)
            self.mixture = Mixture(weight, mean, covariance, reg)
