"""The memory bank: `d = 1 - cos` to the most similar normal token.

AnomalyDINO (arXiv 2405.14529), full-shot, without rotations and mask: `bank: all`. Tokens have length 1;
a slice's score is the mean of its largest 1 % token scores. Smaller banks are ours: all tokens of 7,500
slices take 11.8 GB and most of a minute per slice.

Its other options: `shots`, `mask`, `metric: l2`, `neighbours`, `views` (turned references), and zero-shot,
`bank: batch` and `bank: cohort`. Where what it does seems wrong (see `as_released`), that is a switch, held
to numbers that its code gave.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from aggregate.anomaly.arithmetic.bank import Bank, BankSample
from aggregate.anomaly.arithmetic.coreset import coreset_work, greedy_coreset
from aggregate.anomaly.arithmetic.distances import Distances, Metric
from aggregate.anomaly.arithmetic.kmeans import kmeans
from aggregate.anomaly.arithmetic.pca_mask import pca_mask
from aggregate.anomaly.arithmetic.shots import Shots, Unit
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Growth, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.strict import later
from cache_schema.common.terminal.progress import bar

BANK_SIZES = {"uniform": 100_000, "coreset": 10_000, "kmeans": 1_000}
"""Tokens in a bank when the file does not say."""


class MemoryBankSpec(DetectorBase):
    """One minus the cosine to the most similar normal token (AnomalyDINO)."""

    kind: Literal["memory_bank"] = "memory_bank"
    bank: Literal["uniform", "kmeans", "coreset", "all", "batch", "cohort"] = "uniform"
    """A uniform sample of the reference's tokens, centroids of a sample, a greedy k-centre coreset of a
    sample, or every token (as published). The last two have no reference (zero-shot): with `batch` a slice is
    compared with the others of its volume, some at a time; with `cohort` with a uniform sample of the tokens
    of all other volumes that are to be scored, whatever is wrong with them."""
    size: PositiveInt | None = None
    """Tokens in the bank; by default 100,000 (uniform), 10,000 (coreset) or 1,000 (kmeans), e.g. `50000`."""
    sample: PositiveInt = 200_000
    """Tokens that `kmeans` and `coreset` choose from, drawn uniformly."""
    height_window_mm: PositiveFloat | None = None
    """Compare with tokens of slices at most so far above or below; null compares with all, e.g. `20`."""
    min_foreground: float = Field(default=0.0, ge=0, le=1)
    """Least share of foreground of a patch whose token may enter the bank; 0, as published, admits all."""
    limit_gib: PositiveFloat = 8.0
    """Refuse a bank of `all` that takes more memory."""
    metric: Metric = later("cosine")
    """`l2`: the Euclidean distance of tokens as they are, whose length counts."""
    neighbours: PositiveInt = later(1, le=100)
    """A score is the mean distance to so many bank tokens."""
    mask: Literal["none", "test", "both"] = later("none")
    """Patches off the object, by the first principal component of a slice's own tokens, score 0; with
    `both` they do not enter the bank either."""
    mask_threshold: float = later(10.0)
    """Of that component, in the unit of the backbone's tokens."""
    shots: PositiveInt | None = later(None, le=16)
    """Few-shot: a reference of so many slices, or volumes, drawn by the detector's seed, e.g. `4`."""
    shots_of: Unit = later("slices")
    """What `shots` counts."""
    views: tuple[str, ...] = later(())
    """Stores of the same slices turned or mirrored, whose tokens enter the bank too; a shot is a slice in all
    its views, e.g. `[rot45, rot90]`."""
    top: Literal["foreground", "all"] = later("foreground")
    """Whose largest 1 % a slice's score is the mean of: of foreground patches, or of all (as published)."""
    as_released: bool = later(False)
    """As the published code has it: `top: all`; with `l2` and several neighbours the root of the mean square;
    a token of zeros is 0.5 from everything by cosine, not 1; the mask is grown along the flat row of patches,
    and a slice without an object scores 0."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bank == "kmeans" and self.height_window_mm is not None:
            raise ValueError("centroids have no height: use height_window_mm with another bank than kmeans")
        if self.bank == "all" and self.size is not None:
            raise ValueError("bank: all takes every token; leave size out")
        if self.bank == "batch" and (self.shots is not None or self.height_window_mm is not None):
            raise ValueError("bank: batch has no reference: leave shots and height_window_mm out")
        if self.bank == "cohort" and self.shots is not None:
            raise ValueError("bank: cohort has no reference: leave shots out")
        if self.bank == "batch" and self.views:
            raise ValueError("bank: batch has no reference to turn: leave views out")
        return self

    @property
    def view_stores(self) -> tuple[str, ...]:
        """Of the references."""
        return self.views

    @property
    def fits_scored(self) -> bool:
        """With `bank: cohort`."""
        return self.bank == "cohort"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        return (
            cls(size=300),
            cls(bank="all"),
            cls(bank="kmeans", size=60),
            cls(bank="coreset", size=200, sample=500),
            cls(size=400, height_window_mm=6.0, min_foreground=0.1),
            cls(bank="all", metric="l2", neighbours=3, top="all"),
            cls(shots=8, shots_of="volumes", neighbours=2),
            cls(bank="cohort", size=400),
        )

    def build(self, seed: int) -> "MemoryBank":
        """Make the detector of one seed."""
        return MemoryBank(self, seed)


class MemoryBank(Detector):
    """Keeps tokens of length 1, sorted by the height of their slice."""

    batch_slices = 16
    smooth_pixels = 4.0
    spec: MemoryBankSpec

    def __init__(self, spec: MemoryBankSpec, seed: int) -> None:
        """Hold the spec and the seed."""
        super().__init__(spec, seed)
        self._rule = Distances(spec.metric, spec.neighbours, spec.as_released)

    @property
    def epochs(self) -> int:
        """One, or none without a reference."""
        return 0 if self.spec.bank == "batch" else 1

    def start(self, reference: Reference) -> None:
        """Prepare an empty sample.

        Raises:
            ConfigError: If all tokens are wanted and take more memory than allowed.
        """
        self._dim, self._reference = reference.dim, reference
        looks = 1 + len(self.spec.views)
        n = looks * reference.n_slices * reference.grid[0] * reference.grid[1]
        few = self.spec.shots is not None
        if few or self.spec.bank == "all":
            self._within_limit(looks * self._shot_tokens(reference) if few else n)
        shots = Shots(self.spec.shots, self.spec.shots_of, self.seed) if self.spec.shots else None
        self._sample = BankSample(self._dim, n, self._most, self.seed, shots)
        self._bank = Bank.empty(self._dim)

    @property
    def _most(self) -> int | None:
        """Tokens to draw; None for all."""
        if self.spec.bank in ("kmeans", "coreset"):
            return self.spec.sample
        even = self.spec.bank in ("uniform", "cohort")
        return self.spec.size or BANK_SIZES["uniform"] if even else None

    def growth(self, slices: int) -> Growth:
        """Of a bank of that many slices' tokens."""
        seen = slices * self._reference.grid[0] * self._reference.grid[1]
        if self.spec.shots is not None:
            seen = min(seen, self._shot_tokens(self._reference))
        seen *= 1 + len(self.spec.views)
        sample = min(seen, self._most or seen)
        bank = min(sample, self.spec.size or BANK_SIZES.get(self.spec.bank, sample))
        work = {"coreset": coreset_work(sample, bank), "kmeans": float(sample * bank)}
        return Growth(work.get(self.spec.bank, float(sample)), bank, (sample + bank) * self._dim)

    def _shot_tokens(self, reference: Reference) -> int:
        """Tokens of so many slices or volumes, about."""
        slices = self.spec.shots or 0
        if self.spec.shots_of == "volumes":
            slices = -(-slices * reference.n_slices // reference.n_volumes)
        return slices * reference.grid[0] * reference.grid[1]

    def _within_limit(self, n: int) -> None:
        gib = 4 * n * self._dim / 2**30
        if gib > self.spec.limit_gib:
            raise ConfigError(
                f"memory_bank: all {n} reference tokens take {gib:.3g} GiB, more than limit_gib: "
                f"{self.spec.limit_gib:g}; use bank: uniform, or raise limit_gib"
            )

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Draw tokens; those of a slice's views are its own."""
        looks = (batch, *batch.views)
        patches = torch.cat([look.patches for look in looks], 1)
        admitted = torch.cat([self._admitted(look) for look in looks], 1)
        self._sample.add(patches, admitted, batch.height_mm, batch.volume)

    def _admitted(self, batch: SliceBatch) -> Bool[Tensor, "slice row col"]:
        """Patches whose tokens may be compared with."""
        inside = batch.foreground >= self.spec.min_foreground
        return inside & self._mask(batch) if self.spec.mask == "both" else inside

    def _mask(self, batch: SliceBatch) -> Bool[Tensor, "slice row col"]:
        """Patches of the object."""
        return pca_mask(batch.patches, self.spec.mask_threshold, self.spec.as_released)

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Make the bank of the sample.

        Raises:
            SlicecacheError: If no token was admitted.
        """
        tokens, height, volume = self._sample.rows()
        if not len(tokens):
            limit = f"min_foreground: {self.spec.min_foreground:g} of foreground"
            if self.spec.mask == "both":
                limit += f" and a component above mask_threshold: {self.spec.mask_threshold:g}"
            raise SlicecacheError(f"memory_bank: no patch of the reference has {limit}; lower it")
        if self.spec.bank == "cohort" and len(volume.unique()) < 2:
            raise SlicecacheError("memory_bank: bank: cohort compares volumes with each other, and has one")
        self._sample = BankSample(self._dim, 1, 1, self.seed, None)
        bank, height = self._reduce(self._rule.scaled(tokens), height)
        order = height.argsort(stable=True)
        volume = volume[order] if self.spec.bank == "cohort" else self._bank.volume
        self._bank = Bank(bank[order], height[order], volume)
        return True

    def _reduce(
        self, tokens: Float[Tensor, "token dim"], height: Float[Tensor, " token"]
    ) -> tuple[Float[Tensor, "kept dim"], Float[Tensor, " kept"]]:
        """The bank's tokens and heights; centroids have none, which is 0 here."""
        if self.spec.bank not in ("coreset", "kmeans"):
            return tokens, height
        size = self.spec.size or BANK_SIZES[self.spec.bank]
        with bar(self.spec.bank) as progress:
            if self.spec.bank == "coreset":
                picks = greedy_coreset(tokens, size, self.seed, progress)
                return tokens[picks], height[picks]
            centroids = self._rule.scaled(kmeans(tokens, size, self.seed, progress=progress))
        return centroids, torch.zeros(len(centroids))

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """The mean distance to the nearest tokens; 0 off the mask, if there is one."""
        rule, query = self._rule, self._rule.scaled(batch.patches.flatten(1, 2))
        if self.spec.bank == "batch":
            distance = rule.among(query, self._admitted(batch).flatten(1))
        else:
            distance = torch.empty(query.shape[:2])
            for which, bank in self._compared(batch):
                distance[which] = rule.to(query[which].flatten(0, 1), bank).view(-1, query.shape[1])
        scores = distance.view(batch.foreground.shape)
        return scores if self.spec.mask == "none" else scores.masked_fill(~self._mask(batch), 0)

    def score_slices(
        self, batch: SliceBatch, scores: Float[Tensor, "slice row col"]
    ) -> Float[Tensor, " slice"]:
        """The mean of the largest 1 %, of foreground patches or of all."""
        whole = self.spec.as_released or self.spec.top == "all"
        return self.slice_scores(scores, torch.ones_like(scores) if whole else batch.foreground)

    def _compared(self, batch: SliceBatch) -> Iterator[tuple[list[int], Float[Tensor, "token dim"]]]:
        """Which slices are compared with which tokens of the bank."""
        unsaid: list[None] = [None] * len(batch)
        heights = unsaid if self.spec.height_window_mm is None else batch.height_mm.tolist()
        volumes = batch.volume.tolist() if self.spec.bank == "cohort" else unsaid
        alike: dict[tuple[float | None, int | None], list[int]] = {}
        for place, key in enumerate(zip(heights, volumes, strict=True)):
            alike.setdefault(key, []).append(place)
        for (height, volume), places in alike.items():
            yield places, self._bank.near(height, self.spec.height_window_mm or 0.0, volume)

    def state(self) -> dict[str, Tensor]:
        """The bank."""
        state = {"bank": self._bank.tokens, "height": self._bank.height}
        return state | {"volume": self._bank.volume} if self.spec.bank == "cohort" else state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take a bank."""
        shapes: dict[str, tuple[int | None, ...]] = {"bank": (None, self._dim), "height": (None,)}
        shapes |= {"volume": (None,)} if self.spec.bank == "cohort" else {}
        tokens, height, *volume = expect(state, self, **shapes)
        self._bank = Bank(tokens, height, *(volume or [self._bank.volume]))
