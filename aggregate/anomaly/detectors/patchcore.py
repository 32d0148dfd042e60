"""PatchCore (arXiv 2106.08265) on DINO tokens: Euclidean distance to a greedy k-centre coreset.

Ours: the coreset is chosen from a bounded uniform sample, without the random projection, and tokens are
not averaged with their neighbours first, since a transformer's tokens have looked around already.
"""

from collections.abc import Mapping
from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from aggregate.anomaly.arithmetic.coreset import coreset_work, greedy_coreset
from aggregate.anomaly.arithmetic.nearest import nearest_euclidean
from aggregate.anomaly.arithmetic.reservoir import Reservoir
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Growth, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.terminal.progress import bar


class PatchcoreSpec(DetectorBase):
    """Euclidean distance to the nearest token of a greedy k-centre coreset (PatchCore)."""

    kind: Literal["patchcore"] = "patchcore"
    size: PositiveInt = Field(default=10_000, le=20_000)
    """Tokens in the coreset."""
    sample: PositiveInt = Field(default=100_000, le=500_000)
    """Tokens that it is chosen from, drawn uniformly; the published 10 % are `sample / size` = 10."""
    neighbours: PositiveInt = 9
    """Tokens of the bank by which a slice's score is weighted; 1 leaves the largest token score."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        return (cls(size=200, sample=500),)

    def build(self, seed: int) -> "Patchcore":
        """Make the detector of one seed."""
        return Patchcore(self, seed)


class Patchcore(Detector):
    """Keeps a coreset of the reference's tokens as they are."""

    batch_slices = 16
    spec: PatchcoreSpec

    def start(self, reference: Reference) -> None:
        """Prepare an empty sample."""
        n = reference.n_slices * reference.grid[0] * reference.grid[1]
        self._dim, self._tokens = reference.dim, reference.grid[0] * reference.grid[1]
        self._sample = Reservoir(min(self.spec.sample, n), self.seed)
        self._bank = torch.empty(0, reference.dim)

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Draw tokens."""
        self._sample.add(batch.patches.flatten(0, 2))

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Choose the coreset."""
        (tokens,) = self._sample.rows()
        self._sample = Reservoir(1, self.seed)
        with bar("coreset") as progress:
            self._bank = tokens[greedy_coreset(tokens, self.spec.size, self.seed, progress)]
        return True

    def growth(self, slices: int) -> Growth:
        """Of a coreset of that many slices' tokens."""
        sample = min(self.spec.sample, slices * self._tokens)
        bank = min(self.spec.size, sample)
        return Growth(coreset_work(sample, bank), bank, (sample + bank) * self._dim)

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """Distance to the nearest token of the coreset."""
        nearest = nearest_euclidean(batch.patches.flatten(0, 2), self._bank)
        return nearest.distance.view(batch.foreground.shape)

    def score_slices(
        self, batch: SliceBatch, scores: Float[Tensor, "slice row col"]
    ) -> Float[Tensor, " slice"]:
        """The largest foreground token score, weighted by how crowded its neighbour in the bank lies.

        Equation 7 of the paper: `(1 - softmax(distances to the 9 bank tokens about the nearest one))`, of
        which the entry of the nearest one itself. A slice without foreground has 0.
        """
        inside = torch.where(batch.foreground > 0, scores, -torch.inf).flatten(1)
        largest, place = inside.max(1)
        largest = torch.where(torch.isfinite(largest), largest, 0.0)
        count = min(self.spec.neighbours, len(self._bank))
        if count < 2:
            return largest
        query = batch.patches.flatten(1, 2)[torch.arange(len(batch)), place]
        found = nearest_euclidean(query, self._bank)
        about = torch.cdist(self._bank[found.index], self._bank).topk(count, largest=False).indices
        apart = torch.linalg.vector_norm(query[:, None].double() - self._bank[about].double(), dim=2)
        own = found.distance.double()
        weight = 1 - torch.exp(own - torch.logsumexp(apart, 1))
        return (weight * largest).to(scores.dtype)

    def state(self) -> dict[str, Tensor]:
        """The coreset."""
        return {"bank": self._bank}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take a coreset."""
        (self._bank,) = expect(state, self, bank=(None, self._dim))
