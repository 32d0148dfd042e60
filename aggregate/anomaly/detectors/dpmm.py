"""DPMM: a Dirichlet process mixture over normal tokens; a token far from every component is anomalous.

After arXiv 2509.19997: L2-normalised patch tokens, truncated stick-breaking, MAP-EM on batches of 12
slices (`mixture/update.py`), the epoch chosen by held-out normals. `preset` says whether what the formulas
leave open is as released or ours (`mixture/rules.py`); `init: uniform` and `mask: foreground` are ours.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from aggregate.anomaly.arithmetic.mixture.distances import TokenScore, most_responsible, token_scores
from aggregate.anomaly.arithmetic.mixture.features import TokenFeatures
from aggregate.anomaly.arithmetic.mixture.fit import FitOptions, MixtureFit, likely
from aggregate.anomaly.arithmetic.mixture.kept import KeptMixture
from aggregate.anomaly.arithmetic.mixture.object_mask import counted_patches, lowest_outside, mean_inside
from aggregate.anomaly.arithmetic.mixture.rules import AS_RELEASED, OURS, living
from aggregate.anomaly.arithmetic.mixture.start import EvenDraw
from aggregate.anomaly.arithmetic.mixture.update import Mixture, negative_log_likelihood
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.history import History
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import later


class DpmmSpec(DetectorBase):
    """A Dirichlet process mixture of Gaussians over L2-normalised tokens (arXiv 2509.19997)."""

    seeds_wanted: ClassVar[int] = 5

    kind: Literal["dpmm"] = "dpmm"
    preset: Literal["as_released", "ours"] | None = later(None)
    """Arithmetic of the released class, or ours; null is ours, as before there was a choice. A pipeline file
    with `init: paper` that does not say is `as_released`."""
    components: PositiveInt = 500
    """The truncation; most of them die during the fit."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of a batch in the running statistics."""
    schedule: Literal["ema", "exp", "em"] = later("ema")
    """That share in step t, counted from 1: `rate`, `t^-rate`, or 1, so that a step forgets all before."""
    concentration: PositiveFloat = 2.0
    """Where alpha starts."""
    learn_concentration: bool = later(True)
    """False keeps alpha where it starts."""
    covariance: Literal["diagonal", "full", "spherical"] = "diagonal"
    """`full` costs about `dim` times the time and memory: 0.6 GB per copy of 500 components of 384."""
    init: Literal["uniform", "paper"] = "uniform"
    """First means: drawn over all normal tokens in one more pass, or the first tokens of the first slice."""
    reg: PositiveFloat | None = None
    """Added to variances; by default 1e-6, with full covariances 1e-3, e.g. `1.0e-6`."""
    epochs: PositiveInt = 40
    """Passes over the normal tokens."""
    pca: Annotated[int, Field(gt=0, le=100_000)] | None = later(None)
    """Principal directions of normal tokens that are kept, found in one more pass, e.g. `64`."""
    place: bool = later(False)
    """Column and row, from -1 to 1, behind each token."""
    mask: Literal["none", "foreground", "object"] = later("none")
    """Which patches are fitted and scored, all others scoring lowest: every one; those with foreground; those
    further than `mask_threshold` along the first principal component of their slice."""
    mask_threshold: PositiveFloat = later(28.0)
    """Of `mask: object`, in units of the stored tokens."""
    score: TokenScore = "cosine"
    """Of a token: 1 - its largest cosine to a living component's mean, -log p under the mixture, or the
    distance to the nearest living component."""

    @property
    def variance_floor(self) -> float:
        """What is added to variances."""
        return self.reg or (1e-3 if self.covariance == "full" else 1e-6)

    def fit_options(self, width: int) -> FitOptions:
        """For tokens of so many numbers."""
        return FitOptions(
            components=self.components,
            width=width,
            covariance=self.covariance,
            reg=self.variance_floor,
            rate=self.rate,
            schedule=self.schedule,
            concentration=self.concentration,
            learn_concentration=self.learn_concentration,
            rules=AS_RELEASED if self.preset == "as_released" else OURS,
        )

    @classmethod
    def new_run(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The published start comes with the published arithmetic."""
        return {"preset": "as_released"} if given.get("init") == "paper" else {}

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        few: dict[str, Any] = {"components": 30, "epochs": 3}
        other: dict[str, Any] = {"covariance": "spherical", "schedule": "exp", "score": "mahalanobis"}
        released, full = cls(init="paper", preset="as_released", **few), cls(covariance="full", **few)
        return cls(**few), full, released, cls(learn_concentration=False, mask="foreground", **other, **few)

    def build(self, seed: int) -> "Dpmm":
        """Make the detector of one seed."""
        return Dpmm(self, seed)


class Dpmm(Detector):
    """The mixture of one seed."""

    batch_slices = 12
    spec: DpmmSpec

    @property
    def epochs(self) -> int:
        """Of the fit, after one that draws the start and finds directions where either is wanted."""
        return self.spec.epochs + self._looking

    @property
    def _looking(self) -> int:
        return int(self.spec.init == "uniform" or self.spec.pca is not None)

    def start(self, reference: Reference) -> None:
        """Empty statistics; the mixture comes with the first batch of the fit.

        Raises:
            SlicecacheError: If more directions are wanted than a token has numbers.
        """
        if (self.spec.pca or 0) > reference.dim:
            raise SlicecacheError(
                f"dpmm: pca: {self.spec.pca} directions are more than the {reference.dim} numbers of a token"
            )
        self._features = TokenFeatures(reference.dim, self.spec.pca, self.spec.place)
        self._draw = EvenDraw(self.spec.components, self._features.plain, self.seed)
        self._fit = MixtureFit(self.spec.fit_options(self._features.width))
        self._history = History("training_loss", "held_out_loss", "components_alive", "alpha")
        self._batch = 0
        self._kept = KeptMixture()
        self._done = False

    def _inside(self, batch: SliceBatch) -> Bool[Tensor, "slice row col"] | None:
        return counted_patches(self.spec.mask, batch.patches, batch.foreground, self.spec.mask_threshold)

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """One step, or in an epoch before the fit a part of the draw and of the directions."""
        tokens, inside = self._features.tokens(batch.patches), self._inside(batch)
        if inside is not None:
            tokens = tokens[inside.flatten()]
        if epoch < self._looking:
            self._draw.observe(tokens, self._batch)
            self._features.observe(tokens)
            self._batch += 1
        elif len(tokens):
            tokens = self._features.of(tokens)
            if self._fit.mixture is None:
                self._fit.begin(self._first_tokens(tokens), self.seed)
            self._history.gather(self._fit.observe(tokens), len(tokens))

    def _first_tokens(self, tokens: Tensor) -> Tensor:
        if self.spec.init == "paper":
            return tokens
        if len(self._draw.tokens):
            return self._features.of(self._draw.tokens)
        raise SlicecacheError("a dpmm starts from drawn normal tokens, but its first epoch had none")

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Keep the mixture if held-out tokens are likelier under it than under any before.

        Raises:
            SlicecacheError: If the mask left no token.
        """
        if epoch < self._looking:
            self._features.settle()
        elif self._fit.mixture is None:
            raise SlicecacheError(f"dpmm: mask: {self.spec.mask} leaves no token of the reference to fit")
        else:
            alive = int(living(self._fit.mixture.log_weight).sum())
            self._history.end_epoch(held_out, alive, self._fit.concentration)
            self._kept.offer(self._fit.mixture, held_out)
        self._done = epoch + 1 >= self.epochs
        return self._done

    def curves(self) -> dict[str, list[float]]:
        """Mean `-log p` of tokens as the steps found them and of held-out ones, components alive, alpha."""
        return self._history.curves()

    def held_out_loss(self, batch: SliceBatch) -> Float[Tensor, " slice"]:
        """Mean negative log-likelihood of each slice's tokens; infinite before the first step."""
        if self._fit.mixture is None:
            return torch.full((len(batch),), math.inf, dtype=torch.float64)
        tokens = self._features.of(self._features.tokens(batch.patches))
        mixture, inside = likely(self._fit.mixture, self._fit.options.rules), self._inside(batch)
        loss = negative_log_likelihood(tokens, mixture).view(len(batch), -1)
        return loss.mean(1) if inside is None else mean_inside(loss, inside.flatten(1))

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """As `spec.score` says, over the living components of the best epoch."""
        if self._kept.mixture is None:
            raise SlicecacheError("a dpmm scores once it was fitted for an epoch, but this one was not")
        scores = self._scores(batch, self._kept.mixture).float().view(batch.patches.shape[:3])
        inside, lowest = self._inside(batch), None if self.spec.score == "likelihood" else 0.0
        return scores if inside is None else lowest_outside(scores, inside, lowest)

    def _scores(self, batch: SliceBatch, mixture: Mixture) -> Float[Tensor, " token"]:
        if self.spec.score == "cosine" and self._features.none:
            return token_scores("cosine", batch.patches.flatten(0, 2), mixture)
        tokens = self._features.of(self._features.tokens(batch.patches))
        if self.spec.score == "likelihood":
            mixture = likely(mixture, self._fit.options.rules)
        return token_scores(self.spec.score, tokens, mixture)

    def nearest_part(self, batch: SliceBatch) -> Int[Tensor, "slice row col"] | None:
        """The living component that each patch most probably comes from, heaviest first; None unfitted."""
        if self._kept.mixture is None:
            return None
        tokens = self._features.of(self._features.tokens(batch.patches))
        return most_responsible(tokens, self._kept.mixture).view(batch.patches.shape[:3])

    def log_likelihood(self, batch: SliceBatch) -> Float[Tensor, "slice row col"] | None:
        """Under the components that the held-out loss counts; None unfitted."""
        if self._kept.mixture is None:
            return None
        tokens = self._features.of(self._features.tokens(batch.patches))
        mixture = likely(self._kept.mixture, self._fit.options.rules)
        return -negative_log_likelihood(tokens, mixture).view(batch.patches.shape[:3])

    def state(self) -> dict[str, Tensor]:
        """The fit and the best epoch's living components; of a completed fit only those and its curves."""
        state = self._kept.state() | self._features.state() | self._history.state()
        if self._done:
            return state
        state |= self._fit.state()
        return state if self._fit.mixture is not None else state | self._draw.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the epoch that the state was taken at, or score with a completed fit."""
        shapes = self._shapes(state)
        found = dict(zip(shapes, expect(state, self, **shapes), strict=True))
        self._kept.load(found, self.spec.variance_floor)
        self._features.load(found)
        self._history.load(found)
        self._done = "fit.concentration" not in found
        if not self._done:
            self._fit.load(found)
        if "draw.keys" in found:
            self._draw.keys, self._draw.tokens = found["draw.keys"], found["draw.tokens"]

    def _shapes(self, state: Mapping[str, Tensor]) -> dict[str, tuple[int | None, ...]]:
        """What a state of this phase holds: a draw, a fit, or the best epoch alone."""
        parts = {name.split(".")[0] for name in state}
        width, full = self._features.width, self.spec.covariance == "full"
        shapes = self._kept.shapes(state, width, full, needed="fit" not in parts)
        shapes |= self._features.shapes(state) | self._history.shapes(state)
        if "fit" in parts:
            shapes |= self._fit.shapes(begun="draw" not in parts)
        if "draw" in parts:
            kept = tuple(state["draw.keys"].shape[:1]) if "draw.keys" in state else (None,)
            shapes |= {"draw.keys": kept, "draw.tokens": (*kept, self._features.plain)}
        return shapes
