"""What a pipeline file may say about detectors; `build()` makes one and only then imports torch.

Grammar: `detectors: [{kind: memory_bank, bank: uniform, size: 100000}, {kind: dpmm, store: dpmm}]`. A new
detector is one new file, one spec class here and its name in `DetectorSpec`.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from cache_schema.common.strict import Strict

if TYPE_CHECKING:
    from aggregate.anomaly.detectors.base import Detector


class DetectorBase(Strict):
    """What every detector has."""

    store: str | None = None
    """Name in `extract.stores`, or a path: the store it reads; by default the pipeline's."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")
    """What tables call it; by default its kind."""

    @property
    def called(self) -> str:
        """The name in tables."""
        return self.name or str(getattr(self, "kind", "detector"))


BANK_SIZES = {"uniform": 100_000, "coreset": 10_000, "kmeans": 1_000}
"""Tokens in a bank when the file does not say."""


class MemoryBankSpec(DetectorBase):
    """One minus the cosine to the most similar normal token (AnomalyDINO)."""

    kind: Literal["memory_bank"] = "memory_bank"
    bank: Literal["uniform", "kmeans", "coreset", "all"] = "uniform"
    """A uniform sample of the reference's tokens, centroids of a sample, a greedy k-centre coreset of a
    sample, or every token (as published)."""
    size: PositiveInt | None = None
    """Tokens in the bank; by default 100,000 (uniform), 10,000 (coreset) or 1,000 (kmeans)."""
    sample: PositiveInt = 200_000
    """Tokens that `kmeans` and `coreset` choose from, drawn uniformly."""
    height_window_mm: PositiveFloat | None = None
    """Compare with tokens of slices at most so far above or below; null compares with all."""
    min_foreground: float = Field(default=0.0, ge=0, le=1)
    """Least share of foreground of a patch whose token may enter the bank; 0, as published, admits all."""
    limit_gib: PositiveFloat = 8.0
    """Refuse a bank of `all` that takes more memory."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bank == "kmeans" and self.height_window_mm is not None:
            raise ValueError("centroids have no height: use height_window_mm with another bank than kmeans")
        if self.bank == "all" and self.size is not None:
            raise ValueError("bank: all takes every token; leave size out")
        return self

    def build(self, seed: int) -> "Detector":
        """Make the detector."""
        from aggregate.anomaly.detectors.memory_bank import MemoryBank

        return MemoryBank(self, seed)


class PatchcoreSpec(DetectorBase):
    """Euclidean distance to the nearest token of a greedy k-centre coreset (PatchCore)."""

    kind: Literal["patchcore"] = "patchcore"
    size: PositiveInt = Field(default=10_000, le=20_000)
    """Tokens in the coreset."""
    sample: PositiveInt = Field(default=100_000, le=500_000)
    """Tokens that it is chosen from, drawn uniformly; the published 10 % are `sample / size` = 10."""
    neighbours: PositiveInt = 9
    """Tokens of the bank by which a slice's score is weighted; 1 leaves the largest token score."""

    def build(self, seed: int) -> "Detector":
        """Make the detector."""
        from aggregate.anomaly.detectors.patchcore import Patchcore

        return Patchcore(self, seed)


class MahalanobisSpec(DetectorBase):
    """Distance to the Gaussian of normal tokens (PaDiM-like)."""

    kind: Literal["mahalanobis"] = "mahalanobis"
    per: Literal["position", "pooled"] = "position"
    """One mean for each patch of the grid, or one for all."""
    covariance: Literal["shared", "each"] = "shared"
    """With `per: position`: of the residuals of all positions, or one for each position (PaDiM), which
    needs more than two slices per kept dimension."""
    dims: PositiveInt | None = None
    """Dimensions of a token that are kept, drawn at random as PaDiM does; null keeps all, or 100 when each
    position has its covariance."""
    shrinkage: float = Field(default=0.01, gt=0, le=1)
    """Weight of the identity, times the mean variance, in the covariance."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.per == "pooled" and self.covariance == "each":
            raise ValueError("covariance: each needs per: position")
        return self

    def build(self, seed: int) -> "Detector":
        """Make the detector."""
        from aggregate.anomaly.detectors.mahalanobis import Mahalanobis

        return Mahalanobis(self, seed)


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
        from aggregate.anomaly.detectors.dpmm import Dpmm

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
        from aggregate.anomaly.detectors.spatial_ar import SpatialAr

        return SpatialAr(self, seed)


class DinoAdSpec(DetectorBase):
    """A reading of DINO-AD (arXiv 2602.03870), which has no public code; no claim of reproduction."""

    kind: Literal["dino_ad"] = "dino_ad"
    clusters: PositiveInt = 2
    """Centroids per support slice."""
    supports: PositiveInt = 1
    """Support slices per slice that is scored; each is clustered on its own."""
    reduce: Literal["max", "mean"] = "max"
    """Of the cosines to the centroids."""
    slices: PositiveInt = 20_000
    """Reference slices that may become a support, drawn uniformly."""
    height_window_mm: PositiveFloat | None = None
    """Supports at most so far above or below; null leaves the choice to the CLS token alone."""
    min_foreground: float = Field(default=0.1, ge=0, le=1)
    """Least share of foreground of a patch that counts, before a 3 x 3 closing."""
    restarts: PositiveInt = 10
    """Starts of k-means, of which the best is kept."""

    def build(self, seed: int) -> "Detector":
        """Make the detector."""
        from aggregate.anomaly.detectors.dino_ad import DinoAd

        return DinoAd(self, seed)


class PositionSpec(DetectorBase):
    """Baseline: what the height of the slice and the place of the patch know alone."""

    kind: Literal["position"] = "position"

    def build(self, seed: int) -> "Detector":
        """Make the detector."""
        from aggregate.anomaly.detectors.position import Position

        return Position(self, seed)


class IntensitySpec(DetectorBase):
    """Baseline: how far the patch's mean intensity is from that of normals at this height."""

    kind: Literal["intensity"] = "intensity"

    def build(self, seed: int) -> "Detector":
        """Make the detector."""
        from aggregate.anomaly.detectors.intensity import Intensity

        return Intensity(self, seed)


DetectorSpec = Annotated[
    MemoryBankSpec
    | PatchcoreSpec
    | MahalanobisSpec
    | DinoAdSpec
    | DpmmSpec
    | SpatialArSpec
    | PositionSpec
    | IntensitySpec,
    Field(discriminator="kind"),
]
"""The registry of detectors."""
