"""A mixture on its way: start, steps, and the state that a fit goes on from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.anomaly.arithmetic.mixture.rules import LIVING, DpmmRules
from aggregate.anomaly.arithmetic.mixture.start import first_covariance, first_means, first_sticks
from aggregate.anomaly.arithmetic.mixture.update import (
    Mixture,
    Statistics,
    log_weights,
    next_concentration,
    observe,
    stick_shares,
)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What is fitted, and how."""

    components: int
    width: int
    """Of a token."""
    covariance: Literal["diagonal", "full", "spherical"]
    reg: float
    rate: float
    schedule: Literal["ema", "exp", "em"]
    concentration: float
    """Where alpha starts."""
    learn_concentration: bool
    rules: DpmmRules

    def share(self, step: int) -> float:
        """Of a batch in the statistics, by the number of its step from 1."""
        return {"ema": self.rate, "exp": step**-self.rate, "em": 1.0}[self.schedule]


class MixtureFit:
    """Running statistics and the mixture that they stand for."""

    def __init__(self, options: FitOptions) -> None:
        self.options = options
        self.step = 0
        self.concentration = options.concentration
        self.mixture: Mixture | None = None
        self.statistics = Statistics.zero(options.components, options.width, options.covariance == "full")

    def begin(self, tokens: Float[Tensor, "token width"], seed: int) -> None:
        """Start from tokens: the first components' means, and the variance of all."""
        own = self.options
        covariance = first_covariance(tokens, own.covariance == "full", own.reg, own.rules)
        self.mixture = Mixture(
            log_weights(first_sticks(own.components, own.concentration, seed), own.rules.least_log_weight),
            first_means(tokens, own.components, seed, own.rules),
            covariance.expand(own.components, *covariance.shape),
            own.reg,
        )

    def observe(self, tokens: Float[Tensor, "token width"]) -> float:
        """One step with a batch; `begin` came before.

        Returns:
            The mean of `-log p(y)` before the step.
        """
        assert self.mixture is not None
        own = self.options
        self.step += 1
        evidence = observe(tokens, self.mixture, self.statistics, own.share(self.step))
        # Freed before the next is made: full covariances are large.
        self.mixture = None
        mass = self.statistics.mass
        share = stick_shares(mass, len(tokens), self.concentration, own.rules)
        if own.learn_concentration:
            self.concentration = next_concentration(mass, len(tokens), self.concentration)
        self.mixture = self._mixture(log_weights(share, own.rules.least_log_weight))
        return -evidence / len(tokens)

    def _mixture(self, log_weight: Float[Tensor, " component"]) -> Mixture:
        own = self.options
        found = self.statistics.gaussians(own.reg, own.rules.eps, own.covariance == "spherical")
        return Mixture(log_weight, *found, own.reg)

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on."""
        state = {"fit.concentration": torch.tensor(self.concentration, dtype=torch.float64)}
        if self.mixture is None:
            return state
        if self.options.schedule == "exp":
            state["fit.step"] = torch.tensor(self.step)
        statistics = self.statistics
        return state | {
            "fit.log_weight": self.mixture.log_weight.clone(),
            "fit.mass": statistics.mass.clone(),
            "fit.first": statistics.first.clone(),
            "fit.second": statistics.second.clone(),
        }

    def shapes(self, begun: bool) -> dict[str, tuple[int | None, ...]]:
        """Of the tensors that `state` gives."""
        size, width = self.options.components, self.options.width
        if not begun:
            return {"fit.concentration": ()}
        second = (size, width, width) if self.options.covariance == "full" else (size, width)
        step: dict[str, tuple[int | None, ...]] = {"fit.step": ()} if self.options.schedule == "exp" else {}
        return {"fit.concentration": (), **step} | {
            "fit.log_weight": (size,),
            "fit.mass": (size,),
            "fit.first": (size, width),
            "fit.second": second,
        }

    def load(self, found: Mapping[str, Tensor]) -> None:
        """Go on from tensors of those shapes."""
        self.concentration = float(found["fit.concentration"])
        if "fit.log_weight" not in found:
            return
        self.step = int(found["fit.step"]) if "fit.step" in found else 0
        # Copies, as the statistics are changed in place.
        names = ("fit.mass", "fit.first", "fit.second")
        self.statistics = Statistics(*(found[name].clone() for name in names))
        self.mixture = self._mixture(found["fit.log_weight"])


def likely(mixture: Mixture, rules: DpmmRules) -> Mixture:
    """The components that a likelihood is made of."""
    return mixture.take(mixture.log_weight > math.log(LIVING)) if rules.loss_of_living else mixture
