"""A reading of DINO-AD (arXiv 2602.03870): normal centroids of the most similar reference slice.

The paper has no public code, and only its abstract was at hand. What it says: embedding similarity picks a
normal support slice, foreground-aware k-means clusters its tokens, and cosine similarity to the centroids
makes the map. What is our reading: the support is the reference slice with the largest cosine of CLS,
never of the same volume; foreground is a share of at least 0.1 and a 3 x 3 closing; K = 2 on tokens of
length 1, centroids made length 1 again; `A = 1 - max_k cos`, 0 in the background, no rescaling per image.

With several supports each is clustered on its own and all centroids count, so that centroids can be
made while the reference goes by and no reference token is kept.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import max_pool2d, normalize

from aggregate.anomaly.arithmetic.kmeans import kmeans_each
from aggregate.anomaly.arithmetic.reservoir import Reservoir
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import later


def closed(
    foreground: Float[Tensor, "slice row col"], least: float, closing: bool = True
) -> Bool[Tensor, "slice row col"]:
    """Patches with at least this share of foreground, after a 3 x 3 closing (the border gives nothing)."""
    if not closing:
        return foreground >= least
    mask = (foreground >= least).float()[:, None]
    wide = max_pool2d(mask, 3, stride=1, padding=1)
    return (-max_pool2d(-wide, 3, stride=1, padding=1))[:, 0] > 0


OURS: dict[str, Any] = {"clusters": 16, "supports": 10, "height_window_mm": 10.0}
"""What `preset: ours` fills in: chosen on simulated lesions of an even seed (docs/lesions.md)."""


class DinoAdSpec(DetectorBase):
    """A reading of DINO-AD (arXiv 2602.03870), which has no public code; no claim of reproduction."""

    kind: Literal["dino_ad"] = "dino_ad"
    preset: Literal["as_read", "ours"] | None = later(None)
    """Whose choices stand where the file does not say: our reading of the abstract, or what we chose. Null is
    as read, as before there was a choice; a pipeline file that does not say is `ours`."""
    clusters: PositiveInt = 2
    """Centroids per support slice; at most two, or one for every four patches of a slice."""
    supports: PositiveInt = 1
    """Support slices per slice that is scored; each is clustered on its own."""
    reduce: Literal["max", "mean"] = "max"
    """Of the cosines to the centroids."""
    slices: PositiveInt = 20_000
    """Reference slices that may become a support, drawn uniformly."""
    height_window_mm: PositiveFloat | None = None
    """Supports at most so far above or below; null leaves the choice to `match` alone, e.g. `20`."""
    min_foreground: float = Field(default=0.1, ge=0, le=1)
    """Least share of foreground of a patch that counts, before a 3 x 3 closing."""
    restarts: PositiveInt = 10
    """Starts of k-means, of which the best is kept."""
    match: Literal["cls", "mean"] = later("cls")
    """By what supports are chosen: CLS tokens, or patch tokens averaged over the foreground."""
    closing: bool = later(True)
    """Whether the foreground is closed (3 x 3)."""

    @classmethod
    def new_run(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What we chose, unless the reading is asked for."""
        return {} if given.get("preset") == "as_read" else {"preset": "ours", **OURS}

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        return (cls(), cls(supports=3, height_window_mm=5.0, slices=20, match="mean", closing=False))

    def build(self, seed: int) -> "DinoAd":
        """Make the detector of one seed."""
        return DinoAd(self, seed)


class DinoAd(Detector):
    """Keeps CLS, centroids, height and volume of reference slices."""

    batch_slices = 16
    spec: DinoAdSpec

    def start(self, reference: Reference) -> None:
        """Prepare an empty sample of slices."""
        self._dim = reference.dim
        # On a coarse grid hardly a slice has sixteen patches of foreground.
        self._clusters = min(self.spec.clusters, max(2, reference.grid[0] * reference.grid[1] // 4))
        self._sample = Reservoir(min(self.spec.slices, reference.n_slices), self.seed)
        self._cls = torch.empty(0, reference.dim)
        self._centroids = torch.empty(0, self._clusters, reference.dim)
        self._height = torch.empty(0)
        self._volume = torch.empty(0, dtype=torch.long)

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Cluster the slices that are drawn; one with too little foreground is no support."""
        inside = self._inside(batch).flatten(1)
        able = (inside.sum(1) >= self._clusters).nonzero().squeeze(1)
        offer = self._sample.offer(len(able))
        if not len(offer.source):
            return
        taken = able[offer.source]
        few = batch.take(taken)
        tokens = normalize(few.patches.flatten(1, 2), dim=2)
        seeds = [[self.seed, int(ordinal)] for ordinal in offer.ordinal]
        centroids = kmeans_each(tokens, inside[taken], self._clusters, seeds, self.spec.restarts)
        self._sample.put(offer, self._of_slice(few), normalize(centroids, dim=2), few.height_mm, few.volume)

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Keep the sample.

        Raises:
            SlicecacheError: If no reference slice has foreground.
        """
        if not len(self._sample):
            raise SlicecacheError(
                f"dino_ad: no reference slice has {self._clusters} patches with min_foreground: "
                f"{self.spec.min_foreground:g} of foreground; lower it"
            )
        self._cls, self._centroids, self._height, self._volume = self._sample.rows()
        self._sample = Reservoir(1, self.seed)
        return True

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """One minus the cosine to the support's centroids in the foreground, 0 elsewhere.

        Raises:
            SlicecacheError: If every reference slice is of the volume that is scored.
        """
        centroids = self._centroids[self._supports(batch)].flatten(1, 2)
        tokens = normalize(batch.patches.flatten(1, 2), dim=2)
        cosine = tokens @ centroids.transpose(1, 2)
        similar = cosine.amax(2) if self.spec.reduce == "max" else cosine.mean(2)
        inside = self._inside(batch)
        return torch.where(inside, (1 - similar).clamp_min(0).view(inside.shape), 0.0)

    def _inside(self, batch: SliceBatch) -> Bool[Tensor, "slice row col"]:
        """Foreground patches."""
        return closed(batch.foreground, self.spec.min_foreground, self.spec.closing)

    def _of_slice(self, batch: SliceBatch) -> Float[Tensor, "slice dim"]:
        """What slices are matched by, of length 1."""
        if self.spec.match == "cls":
            return normalize(batch.cls, dim=1)
        return normalize((batch.patches * batch.foreground[..., None]).sum((1, 2)), dim=1)

    def _supports(self, batch: SliceBatch) -> Int[Tensor, "slice support"]:
        """The reference slices that are most alike, never of the same volume."""
        cosine = self._of_slice(batch) @ self._cls.T
        own = batch.volume[:, None] == self._volume
        cosine = torch.where(own, -torch.inf, cosine)
        if self.spec.height_window_mm is not None:
            far = (batch.height_mm[:, None] - self._height).abs() > self.spec.height_window_mm
            near = torch.where(far, -torch.inf, cosine)
            # A slice of a height that the reference lacks is compared with all.
            cosine = torch.where(torch.isfinite(near).any(1, keepdim=True), near, cosine)
        best = cosine.topk(min(self.spec.supports, cosine.shape[1]))
        if not torch.isfinite(best.values[:, 0]).all():
            raise SlicecacheError(
                "dino_ad: a volume cannot be compared with itself, and the reference has no other; use more "
                "reference volumes"
            )
        # With fewer allowed supports than asked for, the best one stands in for the rest.
        return torch.where(torch.isfinite(best.values), best.indices, best.indices[:, :1])

    def state(self) -> dict[str, Tensor]:
        """What is known of the reference slices."""
        return {
            "cls": self._cls,
            "centroids": self._centroids,
            "height": self._height,
            "volume": self._volume,
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take reference slices."""
        self._cls, self._centroids, self._height, self._volume = expect(
            state,
            self,
            cls=(None, self._dim),
            centroids=(None, self._clusters, self._dim),
            height=(None,),
            volume=(None,),
        )
