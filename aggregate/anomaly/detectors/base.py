"""What a detector is: it watches batches of normal slices go by, then scores slices token by token.

The engine streams slices of the reference group, shuffled across volumes anew for each epoch, and hands
every detector batches of the size that it asked for; so detectors of one store share one read. Nothing
of a batch may be kept beyond the detector's own bounded state.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from cache_schema.common.strict import Strict, later
from cache_schema.format.identity import VolumeKey

PATCHES = "patches"
"""The array of patch tokens that a detector reads where it does not say."""


def volume_number(key: VolumeKey) -> int:
    """A number for a volume: the first 63 bits of its key's hash."""
    return int(key.digest[:16], 16) >> 1


@dataclass(frozen=True, slots=True)
class SliceBatch:
    """Kept slices of any volumes of one store, in float32 after rounding through the storage dtype."""

    patches: Float[Tensor, "slice row col dim"]
    """Post-norm patch tokens, not L2-normalised."""
    foreground: Float[Tensor, "slice row col"]
    """Share of the patch inside the foreground, 0 to 1."""
    intensity: Float[Tensor, "slice row col"]
    """Mean intensity of the patch."""
    cls: Float[Tensor, "slice dim"]
    height_mm: Float[Tensor, " slice"]
    """Millimetres below the vertex."""
    volume: Int[Tensor, " slice"]
    """Which volume each slice is of: `volume_number` of its key, the same in every stream."""
    layers: Mapping[str, Tensor] = field(default_factory=dict, kw_only=True)
    """Patch tokens of inner blocks, like `patches`, by the name of their array."""
    views: tuple["SliceBatch", ...] = field(default=(), kw_only=True)
    """The same slices turned or mirrored, of the stores that the detector's spec names."""

    def __len__(self) -> int:
        return len(self.patches)

    def take(self, index: Int[Tensor, " picked"] | slice) -> "SliceBatch":
        """Some of the slices."""
        fields = (self.patches, self.foreground, self.intensity, self.cls, self.height_mm, self.volume)
        layers = {name: tokens[index] for name, tokens in self.layers.items()}
        views = tuple(view.take(index) for view in self.views)
        return SliceBatch(*(each[index] for each in fields), layers=layers, views=views)

    def of(self, tokens: str) -> "SliceBatch":
        """The slices as a detector of these tokens sees them."""
        if tokens == PATCHES:
            return self
        return replace(self, patches=self.layers[tokens], views=tuple(view.of(tokens) for view in self.views))


@dataclass(frozen=True, slots=True)
class Reference:
    """What a detector is told of the stream before the first batch."""

    dim: int
    grid: tuple[int, int]
    """Rows and columns of patches."""
    n_slices: int
    """In one epoch."""
    n_volumes: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What grows with the slices that a detector has seen; of the first two only ratios count."""

    closing: float = 1.0
    """Work at the end of an epoch."""
    scoring: float = 1.0
    """Work of a score, and what is kept for it."""
    numbers: int = 0
    """In memory, while it is fitted."""


class DetectorBase(Strict, ABC):
    """What every detector's spec has; each kind derives its own, beside its class."""

    baseline: ClassVar[bool] = False
    """Whether it is one of the two opponents that every store has."""
    seeds_wanted: ClassVar[int] = 1
    """Fits that a result should rest on; more than 1 where the seed matters much."""

    kind: str
    store: str | None = None
    """Name in `extract.stores`, or a path: the store it reads; by default the pipeline's, e.g. `dpmm`."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")
    """What tables call it; by default its kind, e.g. `bank-large`."""
    tokens: str = later(PATCHES, pattern=r"^patches(_l(0[1-9]|[1-9][0-9]))?$")
    """The array of patch tokens that it reads: of the last block, or of another that the store has, e.g.
    `patches_l08`."""

    @property
    def view_stores(self) -> tuple[str, ...]:
        """Stores whose slices are in `SliceBatch.views` while it is fitted, as it names them; mostly none."""
        return ()

    @property
    def fits_scored(self) -> bool:
        """Whether it is fitted on whoever is to be scored and not on the reference group (zero-shot)."""
        return False

    @property
    def called(self) -> str:
        """The name in tables."""
        return self.name or self.kind

    @property
    def whole(self) -> "tuple[DetectorBase, ...]":
        """Itself, and the detectors that it is made of."""
        return (self,)

    @classmethod
    def new_run(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a pipeline file means where it does not say; a bundle that does not say is from before.

        Args:
            given: The detector as it stands in the file.
        """
        return {}

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices, for whoever tests every detector."""
        return (cls.model_validate({}),)

    @abstractmethod
    def build(self, seed: int) -> "Detector":
        """Make the detector of one seed."""


def layers_of(specs: Iterable[DetectorBase]) -> tuple[str, ...]:
    """The arrays of inner blocks that detectors, or their parts, read."""
    return tuple(sorted({one.tokens for spec in specs for one in spec.whole} - {PATCHES}))


class Detector(ABC):
    """A detector of one seed. Life: `start`, then per epoch `observe`* and `end_epoch`, then `score`.

    `state` and `load_state` carry it over a kill between epochs and into a bundle: the same state gives
    the same scores, and a fit resumed from it ends at the same model.
    """

    batch_slices: int = 64
    """Slices per `observe`; the last batch of an epoch may be smaller."""
    smooth_pixels: float = 0.0
    """Standard deviation of the smoothing of its maps on the canvas."""
    sees_tokens: bool = True
    """Whether odd tokens can raise its scores."""
    source: str | None = None
    """Digest of the code behind it, of a detector from outside: other code is another fit."""

    def __init__(self, spec: DetectorBase, seed: int) -> None:
        """Hold the spec and the seed of everything random."""
        self.spec = spec
        self.seed = seed

    @property
    def epochs(self) -> int:
        """Passes over the reference slices that the fit takes at most; 0 for none."""
        return 1

    @abstractmethod
    def start(self, reference: Reference) -> None:
        """Prepare for the first epoch.

        Raises:
            SlicecacheError: If the reference is too small for the detector, or too large for its memory.
        """

    @abstractmethod
    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Take in normal slices."""

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Take in the epoch's end.

        Args:
            epoch: Counted from 0.
            held_out: Mean of `held_out_loss` over calibration slices, if the detector gives one.

        Returns:
            Whether the fit is complete.
        """
        return epoch + 1 >= self.epochs

    def held_out_loss(self, batch: SliceBatch) -> Float[Tensor, " slice"] | None:
        """Loss of normal slices outside the fit, by which an epoch is chosen; None where there is none."""
        return None

    def curves(self) -> Mapping[str, Sequence[float]]:
        """What the epochs of the fit gave, by name; nothing where there is one epoch.

        `training_loss` and `held_out_loss` are drawn in one figure.
        """
        return {}

    def growth(self, slices: int) -> Growth:
        """What it takes once it has seen so many slices, for whoever tries it on a few; behind `start`."""
        return Growth()

    def nearest_part(self, batch: SliceBatch) -> Int[Tensor, "slice row col"] | None:
        """Which of its own parts each patch comes from, for a map; None for a detector that has none."""
        return None

    def log_likelihood(self, batch: SliceBatch) -> Float[Tensor, "slice row col"] | None:
        """Log density of each patch, for a map; None for a detector that has none."""
        return None

    @abstractmethod
    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """Anomaly score of every patch, higher = more anomalous, finite everywhere."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything that a fit has made so far."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; `start` was called before.

        Raises:
            SlicecacheError: If the state does not fit.
        """

    def score_slices(
        self, batch: SliceBatch, scores: Float[Tensor, "slice row col"]
    ) -> Float[Tensor, " slice"]:
        """One score per slice, from what `score` gave for the batch."""
        return self.slice_scores(scores, batch.foreground)

    def slice_scores(
        self, scores: Float[Tensor, "slice row col"], foreground: Float[Tensor, "slice row col"]
    ) -> Float[Tensor, " slice"]:
        """One score per slice: the mean of its largest 1 % foreground token scores (at least one)."""
        inside = torch.where(foreground > 0, scores, -torch.inf).flatten(1)
        counts = torch.isfinite(inside).sum(1)
        ordered = inside.sort(1, descending=True).values
        top = (counts // 100).clamp_min(1)
        place = torch.arange(inside.shape[1])
        kept = torch.where((place < top[:, None]) & torch.isfinite(ordered), ordered, 0.0)
        # A slice without foreground has nothing anomalous to show; 0 tokens give 0.
        return kept.sum(1) / torch.minimum(top, counts.clamp_min(1))
