"""Spatial autoregression: a token that those above and to the left do not foretell is anomalous.

After arXiv 2603.02974: tokens as they are, not normalised; mean squared error to the token itself
(a Gaussian of fixed variance); in one batch of five noise on the input alone; AdamW. The epoch is chosen
by the loss of held-out slices, which are normals here. `two_sided` is theirs: a second causal model sees the
map turned by 180 degrees, and the two maps are reduced by mean or minimum; neither ever sees its target.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from aggregate.anomaly.arithmetic.adamw import MOMENTS, AdamW
from aggregate.anomaly.arithmetic.causal_net import CausalNet, channel_spread
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.history import History
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import later

SLICES_THROUGH = 8
"""Slices through the network at a time; gradients are summed, so that memory is that of these."""
_NOISE = 2
LARGEST_NET = 100_000_000
"""Parameters between the first and the last convolution; the published network has 1.8 million there."""
Dilation = Annotated[int, Field(gt=0, le=1000)]


class SpatialArSpec(DetectorBase):
    """How badly causal convolutions predict a token from those above and to the left (arXiv 2603.02974)."""

    kind: Literal["spatial_ar"] = "spatial_ar"
    dilation: Dilation | tuple[Dilation, ...] = 1
    """Of all convolutions, or of each; the paper has 1 (standard) and 4 (dilated, the release's default)."""
    kernel: Literal[3, 5, 7, 9] = later(3)
    """Side of each convolution, in patches."""
    width: int = later(256, gt=0, le=1024)
    """Channels between two convolutions."""
    depth: int = later(5, gt=0, le=64)
    """Convolutions."""
    two_sided: bool = False
    """Beside it a second model, of the map turned by 180 degrees, which sees what is below and right."""
    reduce: Literal["mean", "min"] = later("mean")
    """Of the two maps."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam, in every step."""
    noise: NonNegativeFloat = 0.03
    """Standard deviation of the noise on the input, in those of `noise_per`."""
    noise_per: Literal["channel", "batch"] | None = later(None)
    """Each channel of each slice, as released, or the whole batch; null is the latter, as before there was a
    choice. A pipeline file that does not say is `channel`."""
    noise_probability: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Of a batch to get noise."""
    epochs: PositiveInt = 40
    """Passes over the reference slices at most."""
    checkpoint: Literal["held_out", "last"] = later("held_out")
    """The epoch that is kept: that of the least loss on held-out normals, or the last."""

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if isinstance(self.dilation, tuple) and len(self.dilation) != self.depth:
            raise ValueError(f"dilation has {len(self.dilation)} numbers for a depth of {self.depth}")
        size = self.width**2 * self.kernel**2 * self.depth
        if size > LARGEST_NET:
            raise ValueError(f"width, kernel and depth make {size} parameters, {LARGEST_NET} at most")
        return self

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of each convolution."""
        return self.dilation if isinstance(self.dilation, tuple) else (self.dilation,) * self.depth

    @classmethod
    def new_run(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Noise is the published one."""
        return {"noise_per": "channel"}

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        small: dict[str, Any] = {"width": 24, "epochs": 15, "learning_rate": 5e-3}
        both: dict[str, Any] = {"two_sided": True, "reduce": "min", "noise_per": "channel"}
        return (cls(**small), cls(dilation=(1, 2, 1), depth=3, **small, **both))

    def build(self, seed: int) -> "SpatialAr":
        """Make the detector of one seed."""
        return SpatialAr(self, seed)


class SpatialAr(Detector):
    """One causal network, or two, of one seed."""

    batch_slices = 64
    spec: SpatialArSpec

    @property
    def epochs(self) -> int:
        """Passes over the reference slices."""
        return self.spec.epochs

    def start(self, reference: Reference) -> None:
        """Draw the first weights."""
        self.dim = reference.dim
        self._history = History("training_loss", "held_out_loss")
        self._batch = 0
        self._best: list[dict[str, Tensor]] = []
        self._best_loss = math.inf
        self._done = False
        members = range(2 if self.spec.two_sided else 1)
        self._net = CausalNet(self.dim, self.spec.dilations, self.spec.width, self.spec.kernel)
        self._members = [self._net.first_weights(self.seed, member) for member in members]
        every = [value.requires_grad_() for weights in self._members for value in weights.values()]
        self._optimiser = AdamW(every, self.spec.learning_rate)

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """One step of AdamW."""
        pieces = batch.patches.split(SLICES_THROUGH)
        self._optimiser.zero_grad()
        total = 0.0
        for wanted, given in zip(pieces, self._noisy(batch.patches, epoch), strict=True):
            for member, weights in enumerate(self._members):
                error = self._net.predict(turned(given, member), weights) - turned(wanted, member)
                loss = error.square().sum() / batch.patches.numel()
                loss.backward()
                total += loss.item()
        self._optimiser.step()
        self._history.gather(total / len(self._members), len(batch))
        self._batch += 1

    def _noisy(self, patches: Tensor, epoch: int) -> Iterator[Tensor]:
        """Pieces of a batch, with noise or all without, as the seed, epoch and batch have it."""
        stream = np.random.Generator(np.random.PCG64([self.seed, epoch, self._batch, _NOISE]))
        if stream.random() >= self.spec.noise_probability:
            yield from patches.split(SLICES_THROUGH)
            return
        whole = patches.std()
        for piece in patches.split(SLICES_THROUGH):
            drawn = torch.from_numpy(stream.standard_normal(tuple(piece.shape), dtype=np.float32))
            spread = channel_spread(piece) if self.spec.noise_per == "channel" else whole
            yield drawn.mul_(self.spec.noise * spread).add_(piece)

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Keep the weights if held-out slices are foretold better than by any before, or as the last."""
        last = self.spec.checkpoint == "last"
        if not self._best or held_out is None or last or held_out < self._best_loss:
            self._best = [{k: v.detach().clone() for k, v in weights.items()} for weights in self._members]
            self._best_loss = math.inf if held_out is None else held_out
        self._history.end_epoch(held_out)
        self._batch = 0
        self._done = epoch + 1 >= self.epochs
        return self._done

    def curves(self) -> dict[str, list[float]]:
        """Mean squared errors of batches as the steps found them, noise included, and of held-out slices."""
        return self._history.curves()

    def held_out_loss(self, batch: SliceBatch) -> Float[Tensor, " slice"]:
        """Mean squared error of each slice, over both models where there are two."""
        return self._errors(batch.patches, self._members).mean((0, 2, 3))

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """Mean over channels of the squared error of the kept epoch, of both models their mean or minimum."""
        if not self._best:
            raise SlicecacheError("spatial_ar scores once it was fitted for an epoch, but this one was not")
        errors = self._errors(batch.patches, self._best)
        return errors.mean(0) if self.spec.reduce == "mean" else errors.amin(0)

    @torch.no_grad()
    def _errors(
        self, patches: Tensor, members: list[dict[str, Tensor]]
    ) -> Float[Tensor, "member slice row col"]:
        maps = []
        for piece in patches.split(SLICES_THROUGH):
            both = [
                turned(self._net.squared_error(turned(piece, member), weights), member)
                for member, weights in enumerate(members)
            ]
            maps.append(torch.stack(both))
        return torch.cat(maps, 1)

    def state(self) -> dict[str, Tensor]:
        """Best weights; until the fit is complete also the current ones, their moments and step counts."""
        state = {"best.loss": torch.tensor(self._best_loss, dtype=torch.float64)} | self._history.state()
        for member, weights in enumerate(self._best):
            state |= {f"best.{member}.{name}": value.clone() for name, value in weights.items()}
        if self._done:
            return state
        for name, value in self._current():
            state[f"fit.{name}"] = value.detach().clone()
            for part, moment in self._optimiser.state.get(value, {}).items():
                state[f"fit.{name}.{part}"] = moment.clone()
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the epoch that the state was taken at, or score with a completed fit."""
        shapes = self._shapes(state)
        found = dict(zip(shapes, expect(state, self, **shapes), strict=True))
        self._best_loss = float(found["best.loss"])
        self._history.load(found)
        self._done = not any(name.startswith("fit.") for name in found)
        if "best.0.0.weight" in found:
            self._best = [
                {name: found[f"best.{member}.{name}"].clone() for name in weights}
                for member, weights in enumerate(self._members)
            ]
        if self._done:
            return
        for name, value in self._current():
            with torch.no_grad():
                value.copy_(found[f"fit.{name}"])
            if f"fit.{name}.step" in found:
                self._optimiser.state[value] = {part: found[f"fit.{name}.{part}"].clone() for part in MOMENTS}

    def _shapes(self, state: Mapping[str, Tensor]) -> dict[str, tuple[int | None, ...]]:
        """What a state of this phase holds: a fit before its first epoch, a fit, or the best epoch alone."""
        fitting = any(name.startswith("fit.") for name in state)
        best = not fitting or any(name.startswith("best.0.") for name in state)
        shapes: dict[str, tuple[int | None, ...]] = {"best.loss": ()} | self._history.shapes(state)
        for name, value in self._current():
            shape = tuple(value.shape)
            if best:
                shapes[f"best.{name}"] = shape
            if fitting:
                shapes[f"fit.{name}"] = shape
            if fitting and best:
                shapes |= {f"fit.{name}.{part}": () if part == "step" else shape for part in MOMENTS}
        return shapes

    def _current(self) -> Iterator[tuple[str, Tensor]]:
        for member, weights in enumerate(self._members):
            for name, value in weights.items():
                yield f"{member}.{name}", value


def turned(maps: Tensor, member: int) -> Tensor:
    """Grids (slice, row, col, ...) as a member sees them: the second's turned by 180 degrees, and back."""
    return maps.flip(1, 2) if member else maps
