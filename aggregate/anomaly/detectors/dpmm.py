"""DPMM: a Dirichlet process mixture over normal tokens; a token far from every component is anomalous.

After arXiv 2509.19997: L2-normalised patch tokens, truncated stick-breaking, MAP-EM on batches of 12
slices (`dpmm_update.py`), the epoch chosen by held-out normal tokens. Ours are the start drawn over all
normal tokens (`init: uniform`, one more pass) and `score: likelihood`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from aggregate.anomaly.arithmetic.dpmm_start import EvenDraw, filled, first_sticks
from aggregate.anomaly.arithmetic.dpmm_update import (
    Mixture,
    Statistics,
    log_weights,
    negative_log_likelihood,
    next_concentration,
    observe,
    stick_shares,
)
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.errors import SlicecacheError

LIVING = 1e-6
"""Components of less weight have no part in scores."""
SHORTEST = 1e-8
"""Means are not made longer than from this, so that a dead component's direction counts for nothing."""


class DpmmSpec(DetectorBase):
    """A Dirichlet process mixture of Gaussians over L2-normalised tokens (arXiv 2509.19997)."""

    seeds_wanted: ClassVar[int] = 5

    kind: Literal["dpmm"] = "dpmm"
    components: PositiveInt = 500
    """The truncation; most of them die during the fit."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of a batch in the running statistics."""
    concentration: PositiveFloat = 2.0
    """Where alpha starts; it is learned."""
    covariance: Literal["diagonal", "full"] = "diagonal"
    """`full` costs about `dim` times the time and memory: 0.6 GB per copy of 500 components of 384."""
    init: Literal["uniform", "paper"] = "uniform"
    """First means: drawn over all normal tokens in one more pass, or the first tokens of the first slice."""
    reg: PositiveFloat | None = None
    """Added to variances; by default 1e-6, with full covariances 1e-3."""
    epochs: PositiveInt = 40
    score: Literal["cosine", "likelihood"] = "cosine"
    """Of a token: 1 - its largest cosine to a living component's mean, or -log p under the mixture."""

    @property
    def variance_floor(self) -> float:
        """What is added to variances."""
        return self.reg or (1e-3 if self.covariance == "full" else 1e-6)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        return (cls(components=40, epochs=4), cls(components=20, epochs=2, covariance="full"))

    def build(self, seed: int) -> "Dpmm":
        """Make the detector of one seed."""
        return Dpmm(self, seed)


class Dpmm(Detector):
    """The mixture of one seed."""

    batch_slices = 12
    spec: DpmmSpec

    @property
    def epochs(self) -> int:
        """Those of the fit, after one that draws the start where `init` is uniform."""
        return self.spec.epochs + self._drawing

    @property
    def _drawing(self) -> int:
        return int(self.spec.init == "uniform")

    def start(self, reference: Reference) -> None:
        """Empty statistics; the mixture comes with the first batch of the fit."""
        self.dim = reference.dim
        self._full = self.spec.covariance == "full"
        self._batch = 0
        self._draw = EvenDraw(self.spec.components, self.dim, self.seed)
        self._statistics = Statistics.zero(self.spec.components, self.dim, self._full)
        self._concentration = self.spec.concentration
        self._mixture: Mixture | None = None
        self._best: Mixture | None = None
        self._best_loss = math.inf
        self._done = False

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """One step, or in the first epoch of `init: uniform` only a part of the draw."""
        tokens = normalised(batch.patches)
        if epoch < self._drawing:
            self._draw.observe(tokens, self._batch)
            self._batch += 1
            return
        if self._mixture is None:
            self._mixture = self._first_mixture(tokens)
        observe(tokens, self._mixture, self._statistics, self.spec.rate)
        # Freed before the next is made: full covariances are large.
        self._mixture = None
        self._mixture = self._next_mixture(len(tokens))

    def _first_mixture(self, tokens: Float[Tensor, "token dim"]) -> Mixture:
        start = self._draw.tokens if self._drawing else tokens
        if len(start) == 0:
            raise SlicecacheError("a dpmm starts from drawn normal tokens, but its first epoch had none")
        variance = tokens.var(0, correction=0) + self.spec.variance_floor
        if self._full:
            variance = torch.diag(variance)
        return Mixture(
            log_weights(first_sticks(self.spec.components, self.spec.concentration, self.seed)),
            filled(start, self.spec.components),
            variance.expand(self.spec.components, *variance.shape),
            self.spec.variance_floor,
        )

    def _next_mixture(self, n_tokens: int) -> Mixture:
        mass, reg = self._statistics.mass, self.spec.variance_floor
        share = stick_shares(mass, n_tokens, self._concentration)
        self._concentration = next_concentration(mass, n_tokens, self._concentration)
        return Mixture(log_weights(share), *self._statistics.gaussians(reg), reg)

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Keep the mixture if held-out tokens are likelier under it than under any before."""
        if self._mixture is not None and (
            self._best is None or held_out is None or held_out < self._best_loss
        ):
            self._best = self._mixture.take(self._mixture.log_weight > math.log(LIVING))
            self._best_loss = math.inf if held_out is None else held_out
        self._done = epoch + 1 >= self.epochs
        return self._done

    def held_out_loss(self, batch: SliceBatch) -> Float[Tensor, " slice"]:
        """Mean negative log-likelihood of each slice's tokens; infinite before the first step."""
        if self._mixture is None:
            return torch.full((len(batch),), math.inf, dtype=torch.float64)
        loss = negative_log_likelihood(normalised(batch.patches), self._mixture)
        return loss.view(len(batch), -1).mean(1)

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """`1 - max_k cos(y, mu_k)`, or `-log p(y)`, over the living components of the best epoch."""
        if self._best is None:
            raise SlicecacheError(
                "a dpmm scores once it was fitted for an epoch or more, but this one was not"
            )
        if self.spec.score == "likelihood":
            scores = negative_log_likelihood(normalised(batch.patches), self._best).float()
        else:
            scores = cosine_scores(batch.patches.flatten(0, 2), self._best.mean)
        return scores.view(batch.patches.shape[:3])

    def state(self) -> dict[str, Tensor]:
        """The fit and the best epoch's living components; of a completed fit only those."""
        state = {} if self._best is None else _named("best.", self._best)
        state["best.loss"] = torch.tensor(self._best_loss, dtype=torch.float64)
        if self._done:
            return state
        state["fit.concentration"] = torch.tensor(self._concentration, dtype=torch.float64)
        if self._mixture is None:
            return state | self._draw.state()
        statistics = self._statistics
        return state | {
            "fit.log_weight": self._mixture.log_weight.clone(),
            "fit.mass": statistics.mass.clone(),
            "fit.first": statistics.first.clone(),
            "fit.second": statistics.second.clone(),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the epoch that the state was taken at, or score with a completed fit."""
        shapes = self._shapes(state)
        found = dict(zip(shapes, expect(state, self, **shapes), strict=True))
        reg = self.spec.variance_floor
        self._best_loss = float(found["best.loss"])
        if "best.mean" in found:
            self._best = Mixture(found["best.log_weight"], found["best.mean"], found["best.covariance"], reg)
        self._done = "fit.concentration" not in found
        if self._done:
            return
        self._concentration = float(found["fit.concentration"])
        if "draw.keys" in found:
            self._draw.keys, self._draw.tokens = found["draw.keys"], found["draw.tokens"]
            return
        # Copies, as the statistics are changed in place.
        names = ("fit.mass", "fit.first", "fit.second")
        self._statistics = Statistics(*(found[name].clone() for name in names))
        self._mixture = Mixture(found["fit.log_weight"], *self._statistics.gaussians(reg), reg)

    def _shapes(self, state: Mapping[str, Tensor]) -> dict[str, tuple[int | None, ...]]:
        """What a state of this phase holds: a draw, a fit, or the best epoch alone."""
        size, dim = self.spec.components, self.dim
        square = (dim, dim) if self._full else (dim,)
        parts = {name.split(".")[0] for name in state if name != "best.loss"}
        shapes: dict[str, tuple[int | None, ...]] = {"best.loss": ()}
        if "best" in parts or "fit" not in parts:
            kept = tuple(state["best.mean"].shape[:1]) if "best.mean" in state else (None,)
            shapes |= {
                "best.log_weight": kept,
                "best.mean": (*kept, dim),
                "best.covariance": (*kept, *square),
            }
        if "fit" in parts:
            shapes["fit.concentration"] = ()
        if "draw" in parts:
            kept = tuple(state["draw.keys"].shape[:1]) if "draw.keys" in state else (None,)
            shapes |= {"draw.keys": kept, "draw.tokens": (*kept, dim)}
        elif "fit" in parts:
            shapes |= {"fit.log_weight": (size,), "fit.mass": (size,)}
            shapes |= {"fit.first": (size, dim), "fit.second": (size, *square)}
        return shapes


def normalised(patches: Float[Tensor, "slice row col dim"]) -> Float[Tensor, "token dim"]:
    """All tokens at length 1, float64; a token of zeros stays one."""
    return torch.nn.functional.normalize(patches.flatten(0, 2).double(), dim=1)


def cosine_scores(
    tokens: Float[Tensor, "token dim"], mean: Float[Tensor, "component dim"]
) -> Float[Tensor, " token"]:
    """`1 - max_k cos(y, mu_k)`, at least 0, float32."""
    unit = (mean / torch.linalg.vector_norm(mean, dim=1, keepdim=True).clamp_min(SHORTEST)).float()
    length = torch.linalg.vector_norm(tokens, dim=1).clamp_min(1e-12)
    return (1 - (tokens @ unit.T).amax(1) / length).clamp_min(0)


def _named(prefix: str, mixture: Mixture) -> dict[str, Tensor]:
    return {
        f"{prefix}log_weight": mixture.log_weight.clone(),
        f"{prefix}mean": mixture.mean.clone(),
        f"{prefix}covariance": mixture.covariance.clone(),
    }
