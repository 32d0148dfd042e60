"""What a pipeline file may say about detectors; `build()` makes one and only then imports torch.

Grammar: `detectors: [{kind: memory_bank, bank: uniform, size: 100000}, {kind: dpmm, store: dpmm}]`. A new
detector is one new file, one spec class here and its name in `DetectorSpec`.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from cache_schema.models import Strict

if TYPE_CHECKING:
    from aggregate.detectors.base import Detector


class DetectorBase(Strict):
    """What every detector has."""

    store: str | None = None
    """Name in `extract.stores`, or a path: the store it reads; by default the pipeline's."""


class MahalanobisSpec(DetectorBase):
    """Distance to the Gaussian of normal tokens (PaDiM-like)."""

    kind: Literal["mahalanobis"] = "mahalanobis"


class DpmmSpec(DetectorBase):
    """A Dirichlet process mixture of Gaussians over L2-normalised tokens (arXiv 2509.19997)."""

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

    def build(self, seed: int) -> "Detector":
        """Make the detector of one seed."""
        from aggregate.detectors.dpmm import Dpmm

        return Dpmm(self, seed)


class SpatialArSpec(DetectorBase):
    """How badly causal convolutions predict a token from those above and to the left (arXiv 2603.02974)."""

    kind: Literal["spatial_ar"] = "spatial_ar"
    dilation: PositiveInt = 1
    """Of all five convolutions; the paper has 1 (standard) and 4 (dilated)."""
    two_sided: bool = False
    """Average with a second model, of the map turned by 180 degrees, which sees what is below and right."""
    learning_rate: PositiveFloat = 1e-3
    noise: NonNegativeFloat = 0.03
    """Standard deviation of the noise on the input, in those of the batch."""
    noise_probability: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Of a batch to get noise."""
    epochs: PositiveInt = 40

    def build(self, seed: int) -> "Detector":
        """Make the detector of one seed."""
        from aggregate.detectors.spatial_ar import SpatialAr

        return SpatialAr(self, seed)


DetectorSpec = Annotated[MahalanobisSpec | DpmmSpec | SpatialArSpec, Field(discriminator="kind")]
"""The registry of detectors."""
