"""The memory bank: `d = 1 - cos` to the most similar normal token.

AnomalyDINO (arXiv 2405.14529), full-shot, without rotations and mask: `bank: all`. Tokens have length 1;
a slice's score is the mean of its largest 1 % token scores. Smaller banks are ours: all tokens of 7,500
slices take 11.8 GB and most of a minute per slice.
"""

from collections.abc import Mapping
from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import normalize

from aggregate.anomaly.arithmetic.coreset import greedy_coreset
from aggregate.anomaly.arithmetic.kmeans import kmeans
from aggregate.anomaly.arithmetic.nearest import largest_cosine
from aggregate.anomaly.arithmetic.reservoir import Reservoir
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.errors import ConfigError, SlicecacheError

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

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        return (
            cls(size=300),
            cls(bank="all"),
            cls(bank="kmeans", size=60),
            cls(bank="coreset", size=200, sample=500),
            cls(size=400, height_window_mm=6.0, min_foreground=0.1),
        )

    def build(self, seed: int) -> "MemoryBank":
        """Make the detector of one seed."""
        return MemoryBank(self, seed)


class MemoryBank(Detector):
    """Keeps tokens of length 1, sorted by the height of their slice."""

    batch_slices = 16
    smooth_pixels = 4.0
    spec: MemoryBankSpec

    def start(self, reference: Reference) -> None:
        """Prepare an empty sample.

        Raises:
            ConfigError: If all tokens are wanted and take more memory than allowed.
        """
        self._dim = reference.dim
        n = reference.n_slices * reference.grid[0] * reference.grid[1]
        self._sample = Reservoir(min(self._sample_size(n), n), self.seed)
        self._bank = torch.empty(0, reference.dim)
        self._height = torch.empty(0)

    def _sample_size(self, n: int) -> int:
        """Tokens to draw of `n`."""
        if self.spec.bank in ("kmeans", "coreset"):
            return self.spec.sample
        if self.spec.bank == "uniform":
            return self.spec.size or BANK_SIZES["uniform"]
        gib = 4 * n * self._dim / 2**30
        if gib > self.spec.limit_gib:
            raise ConfigError(
                f"memory_bank: all {n} reference tokens take {gib:.3g} GiB, more than limit_gib: "
                f"{self.spec.limit_gib:g}; use bank: uniform, or raise limit_gib"
            )
        return n

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Draw tokens."""
        admitted = (batch.foreground >= self.spec.min_foreground).flatten()
        height = batch.height_mm[:, None, None].expand(batch.foreground.shape).flatten()
        self._sample.add(batch.patches.flatten(0, 2)[admitted], height[admitted])

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Make the bank of the sample.

        Raises:
            SlicecacheError: If no token was admitted.
        """
        if not len(self._sample):
            raise SlicecacheError(
                "memory_bank: no patch of the reference has min_foreground: "
                f"{self.spec.min_foreground:g} of foreground; lower it"
            )
        tokens, height = self._sample.rows()
        self._sample = Reservoir(1, self.seed)
        bank, height = self._reduce(normalize(tokens, dim=1), height)
        order = height.argsort(stable=True)
        self._bank, self._height = bank[order], height[order]
        return True

    def _reduce(
        self, tokens: Float[Tensor, "token dim"], height: Float[Tensor, " token"]
    ) -> tuple[Float[Tensor, "kept dim"], Float[Tensor, " kept"]]:
        """The bank's tokens and heights; centroids have none, which is 0 here."""
        if self.spec.bank in ("uniform", "all"):
            return tokens, height
        size = self.spec.size or BANK_SIZES[self.spec.bank]
        if self.spec.bank == "coreset":
            picks = greedy_coreset(tokens, size, self.seed)
            return tokens[picks], height[picks]
        centroids = normalize(kmeans(tokens, size, self.seed), dim=1)
        return centroids, torch.zeros(len(centroids))

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """One minus the largest cosine."""
        query = normalize(batch.patches.flatten(1, 2), dim=2)
        if self.spec.height_window_mm is None:
            cosine = largest_cosine(query.flatten(0, 1), self._bank)
        else:
            near = (self._window(float(height)) for height in batch.height_mm)
            cosine = torch.cat([largest_cosine(one, bank) for one, bank in zip(query, near, strict=True)])
        return (1 - cosine).clamp_min(0).view(batch.foreground.shape)

    def _window(self, height: float) -> Float[Tensor, "token dim"]:
        """Bank tokens of about this height; all of them when there is none."""
        window = self.spec.height_window_mm or 0.0
        edges = torch.tensor([height - window, height + window])
        start = int(torch.searchsorted(self._height, edges[0]))
        stop = int(torch.searchsorted(self._height, edges[1], right=True))
        return self._bank[start:stop] if stop > start else self._bank

    def state(self) -> dict[str, Tensor]:
        """The bank."""
        return {"bank": self._bank, "height": self._height}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take a bank."""
        self._bank, self._height = expect(state, self, bank=(None, self._dim), height=(None,))
