"""Several detectors as one: each part's scores in standard deviations of held-out normals, put together.

The parts are fitted side by side, each as it would be alone. Then one more pass over the calibration
normals says what their scores are like, by height, and how the parts go together: no lesion has a say in
any of it. The rules stand in `arithmetic/scales/part_scale.py`.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from aggregate.anomaly.arithmetic.heights import HEIGHT_BINS
from aggregate.anomaly.arithmetic.reservoir import Reservoir
from aggregate.anomaly.arithmetic.scales.part_scale import PartScale, Vote, common_scale, no_scale
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.dpmm import DpmmSpec
from aggregate.anomaly.detectors.intensity import IntensityBaselineSpec
from aggregate.anomaly.detectors.mahalanobis import MahalanobisSpec
from aggregate.anomaly.detectors.memory_bank import MemoryBankSpec
from aggregate.anomaly.detectors.single import SingleSpec
from aggregate.anomaly.detectors.states import expect
from aggregate.anomaly.detectors.symmetry import SymmetrySpec
from cache_schema.common.errors import SlicecacheError

LARGEST_BATCH = 256
"""Slices shown at once; parts whose own batches have no common multiple below get unequal ones."""


class CombinedSpec(DetectorBase):
    """Parts put on one scale by held-out normals, and added up."""

    kind: Literal["combined"] = "combined"
    parts: tuple[SingleSpec, ...] = Field(
        default=(
            MemoryBankSpec(size=20_000, height_window_mm=10.0),
            SymmetrySpec(),
            SymmetrySpec(of="intensity"),
        ),
        min_length=1,
        max_length=16,
    )
    """Any other detectors; they read the store of the whole. The default was chosen on simulated lesions of
    an even seed (docs/lesions.md)."""
    reduce: Vote = "mean"
    """How the parts' standardised scores become one."""
    per_height: bool = True
    """Mean and standard deviation of normals of the same height, or of all."""
    smooth_pixels: float = Field(default=4.0, ge=0, le=64)
    """Standard deviation of the smoothing of its maps, in pixels of the canvas."""
    sample: PositiveInt = 200_000
    """Foreground tokens of calibration normals that say what scores are like, drawn uniformly."""

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        if any(part.store is not None for part in self.parts):
            raise ValueError("parts read the store of the whole: say store beside parts, not in one of them")
        if any(part.view_stores or part.fits_scored for part in self.parts):
            raise ValueError(
                "parts are fitted on the reference group alone: leave out views and bank: cohort"
            )
        return self

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        bank, gaussian = MemoryBankSpec(size=300), MahalanobisSpec()
        several_epochs = DpmmSpec.examples()[0]
        return (
            cls(parts=(gaussian, SymmetrySpec(), IntensityBaselineSpec())),
            cls(parts=(bank, several_epochs), reduce="max", per_height=False),
            cls(parts=(bank, gaussian, SymmetrySpec(of="intensity")), reduce="covariance", sample=100),
        )

    @property
    def whole(self) -> tuple[DetectorBase, ...]:
        """Itself and its parts."""
        return (self, *self.parts)

    def build(self, seed: int) -> "Combined":
        """Make the detector of one seed; its parts have the same."""
        return Combined(self, seed)


class Combined(Detector):
    """Keeps its parts, and by part and height the mean and one over the deviation of normals' scores."""

    spec: CombinedSpec

    def __init__(self, spec: CombinedSpec, seed: int) -> None:
        """Make the parts."""
        super().__init__(spec, seed)
        self.parts: tuple[Detector, ...] = tuple(part.build(seed) for part in spec.parts)
        self.smooth_pixels = spec.smooth_pixels
        self.sees_tokens = any(part.sees_tokens for part in self.parts)
        sources = [part.source for part in self.parts]
        if any(sources):
            self.source = hashlib.sha256(repr(sources).encode()).hexdigest()

    @property
    def epochs(self) -> int:
        """Those of its parts, and a last one behind which scores of normals are looked at."""
        return max(part.epochs for part in self.parts) + 1

    def start(self, reference: Reference) -> None:
        """Start the parts."""
        for part in self.parts:
            part.start(reference)
        self.batch_slices = _shared_batch([part.batch_slices for part in self.parts])
        n = len(self.parts)
        self._done = torch.tensor([part.epochs == 0 for part in self.parts], dtype=torch.long)
        self._losses = [[0.0, 0] for _ in self.parts]
        self._scale = no_scale(n)
        self._sample = Reservoir(self.spec.sample, self.seed)

    def _open(self) -> Iterator[tuple[int, Detector]]:
        """The parts that are still fitted."""
        return ((place, part) for place, part in enumerate(self.parts) if not self._done[place])

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Show the parts their own batches."""
        for _, part in self._open():
            for own in _pieces(batch, part):
                part.observe(own, epoch)

    def held_out_loss(self, batch: SliceBatch) -> Float[Tensor, " slice"]:
        """Gather the parts' losses, and once they are fitted their scores; itself it has no loss."""
        for place, part in self._open():
            for own in _pieces(batch, part):
                loss = part.held_out_loss(own)
                if loss is not None:
                    self._losses[place][0] += float(loss.double().sum())
                    self._losses[place][1] += len(own)
        if self._done.all():
            inside = batch.foreground > 0
            scores = torch.stack([_scored(part, batch) for part in self.parts], dim=3)
            height = batch.height_mm[:, None, None].expand(inside.shape)
            self._sample.add(scores[inside], height[inside])
        return torch.zeros(len(batch))

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """End the parts' epochs, or, behind their last, take the scale from the calibration normals.

        Raises:
            SlicecacheError: If there were none.
        """
        if self._done.all():
            self._take_scale()
            return True
        for place, part in self._open():
            total, n = self._losses[place]
            self._done[place] = int(part.end_epoch(epoch, total / n if n else None))
            self._losses[place] = [0.0, 0]
        return False

    def _take_scale(self) -> None:
        """Mean, deviation and weight of every part, from the sample."""
        if not len(self._sample):
            raise SlicecacheError(
                "combined: its parts are put on one scale by normals outside the fit, and no foreground of "
                "such was given; detect takes the calibration part, so make its share larger"
            )
        scores, height = self._sample.rows()
        self._sample = Reservoir(1, self.seed)
        self._scale = common_scale(scores, height, self.spec.reduce, self.spec.per_height)

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """The parts' scores in standard deviations of normals, by the rule of `reduce`."""
        scores = torch.stack([_scored(part, batch) for part in self.parts], dim=3)
        z = self._scale.standardise(scores, batch.height_mm)
        return (z.amax(3) if self.spec.reduce == "max" else z @ self._scale.weights).float()

    def curves(self) -> Mapping[str, Sequence[float]]:
        """Those of its parts, by number and kind."""
        return {
            f"part {place} ({part.spec.kind}): {name}": values
            for place, part in enumerate(self.parts, 1)
            for name, values in part.curves().items()
        }

    def state(self) -> dict[str, Tensor]:
        """The scale, and the parts' own states."""
        own = {"done": self._done, **asdict(self._scale)}
        parts = {
            f"part{place}/{name}": value
            for place, part in enumerate(self.parts)
            for name, value in part.state().items()
        }
        return own | parts

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        theirs: list[dict[str, Tensor]] = [{} for _ in self.parts]
        own: dict[str, Tensor] = {}
        for name, value in state.items():
            head, slash, rest = name.partition("/")
            places = [place for place in range(len(theirs)) if slash and head == f"part{place}"]
            (theirs[places[0]] if places else own)[rest if places else name] = value
        n = len(self.parts)
        table = (n, HEIGHT_BINS)
        done, *scale = expect(own, self, done=(n,), mean=table, precision=table, weights=(n,))
        self._done, self._scale = done.clone(), PartScale(*(value.clone() for value in scale))
        for place, (part, found) in enumerate(zip(self.parts, theirs, strict=True), 1):
            try:
                part.load_state(found)
            except SlicecacheError as error:
                raise SlicecacheError(f"combined, part {place}: {error}") from error


def _pieces(batch: SliceBatch, part: Detector) -> Iterator[SliceBatch]:
    """A batch in a part's own batches, of its tokens."""
    batch, size = batch.of(part.spec.tokens), part.batch_slices
    if len(batch) <= size:
        yield batch
        return
    for start in range(0, len(batch), size):
        yield batch.take(slice(start, start + size))


def _scored(part: Detector, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
    """A part's scores of its tokens."""
    return part.score(batch.of(part.spec.tokens)).detach()


def _shared_batch(sizes: Sequence[int]) -> int:
    """Slices at once, so that every part sees the batches that it would see alone."""
    common = math.lcm(*sizes)
    return common if common <= LARGEST_BATCH else max(sizes)
