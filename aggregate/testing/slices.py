"""Made-up slices that a detector can learn from in a second, and a small engine that fits it to them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch

PATCHES = (3, 5)
TOKEN_DIM = 11
HEIGHTS = 64
"""Places along the height that have a pattern of their own."""
ROWS, COLS = slice(1, None), slice(2, 4)
"""Where tokens are planted."""


def normal_slices(lengths: Sequence[int], first: int = 0) -> SliceBatch:
    """Volumes whose tokens are a pattern of row, column and height, the same in all, and a little noise.

    Args:
        lengths: Slices of each volume.
        first: Number of the first volume: others have other noise.
    """
    common = np.random.default_rng(12345)
    row, col, height = (common.standard_normal((n, TOKEN_DIM)) for n in (*PATCHES, HEIGHTS))
    down, across = np.linspace(-1, 1, PATCHES[0])[:, None], np.linspace(-1, 1, PATCHES[1])
    inside = np.clip(1.6 - 1.5 * np.hypot(down, across), 0, 1)
    patches, intensity = [], []
    for place, n in enumerate(lengths):
        own = np.random.default_rng([1, first + place])
        pattern = row[:, None] + col + 0.5 * height[:n, None, None]
        patches.append(pattern + 0.2 * own.standard_normal(pattern.shape))
        intensity.append(0.5 + 0.1 * down + 0.02 * own.standard_normal((n, *PATCHES)))
    tokens = torch.from_numpy(np.concatenate(patches).astype(np.float32))
    return SliceBatch(
        patches=tokens,
        foreground=torch.from_numpy(inside.astype(np.float32)).expand(tokens.shape[:3]).clone(),
        intensity=torch.from_numpy(np.concatenate(intensity).astype(np.float32)),
        cls=tokens.mean((1, 2)),
        height_mm=torch.tensor([2.0 * (n - 1 - place) for n in lengths for place in range(n)]),
        volume=torch.tensor([first + which for which, n in enumerate(lengths) for _ in range(n)]),
    )


def with_tokens(slices: SliceBatch, patches: torch.Tensor) -> SliceBatch:
    """The same slices with other tokens; CLS stays."""
    fields = (slices.foreground, slices.intensity, slices.cls, slices.height_mm, slices.volume)
    return SliceBatch(patches, *fields)


def planted(slices: SliceBatch) -> SliceBatch:
    """Tokens of no normal slice in a block of every slice."""
    patches = slices.patches.clone()
    noise = torch.randn(patches[:, ROWS, COLS].shape, generator=torch.Generator().manual_seed(1))
    patches[:, ROWS, COLS] = 2.0 * noise
    return with_tokens(slices, patches)


def all_equal(slices: SliceBatch) -> SliceBatch:
    """Every token the same."""
    half = torch.full_like(slices.patches, 0.5)
    return SliceBatch(
        patches=half,
        foreground=slices.foreground,
        intensity=torch.full_like(slices.intensity, 0.5),
        cls=torch.full_like(slices.cls, 0.5),
        height_mm=slices.height_mm,
        volume=slices.volume,
    )


def reference_of(slices: SliceBatch) -> Reference:
    """What a detector is told before the first batch."""
    return Reference(TOKEN_DIM, PATCHES, len(slices), len(slices.volume.unique()))


def started(spec: DetectorBase, seed: int, slices: SliceBatch) -> Detector:
    """A detector before its first batch."""
    detector = spec.build(seed)
    detector.start(reference_of(slices))
    return detector


def fit_slices(
    detector: Detector, slices: SliceBatch, held_out: SliceBatch, *, order: int = 0, first: int = 0
) -> Iterator[int]:
    """Fit a started detector as the engine does; yields behind every epoch its number.

    Args:
        detector: Started, or gone on with.
        slices: Of the reference.
        held_out: By whose loss it may choose its epoch.
        order: Of the slices; another number is another order.
        first: The first epoch.
    """
    for epoch in range(first, detector.epochs):
        generator = torch.Generator().manual_seed(1000 * order + epoch)
        places = torch.randperm(len(slices), generator=generator)
        for some in places.split(detector.batch_slices):
            detector.observe(slices.take(some), epoch)
        loss = detector.held_out_loss(held_out)
        done = detector.end_epoch(epoch, None if loss is None else float(loss.double().mean()))
        yield epoch
        if done:
            return


def fitted_to(
    spec: DetectorBase, seed: int, slices: SliceBatch, held_out: SliceBatch, order: int = 0
) -> Detector:
    """A detector, fitted."""
    detector = started(spec, seed, slices)
    for _ in fit_slices(detector, slices, held_out, order=order):
        pass
    return detector
