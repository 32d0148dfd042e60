"""What `detect.py` measures with: made-up slices, exact neighbours, the textbook DPMM step, memory."""

import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from aggregate.anomaly.arithmetic.mixture.rules import OURS
from aggregate.anomaly.arithmetic.mixture.update import Mixture, Statistics
from aggregate.anomaly.detectors.base import Detector, Reference, SliceBatch
from aggregate.anomaly.detectors.registry import DETECTORS

DIM = 384
GRIDS = {"spatial_ar": 28}
"""Rows and columns of patches; 32 where a kind is not named."""
CENTRES = 80
BLOCK = 4096


def kinds() -> dict[str, type[Any]]:
    """The registry's specs that can be built, by kind."""
    return {spec.model_fields["kind"].default: spec for spec in DETECTORS if spec.examples()}


def grid(kind: str) -> int:
    """Rows and columns of this kind's slices."""
    return GRIDS.get(kind, 32)


def slices(n: int, side: int, seed: int) -> SliceBatch:
    """Tokens around centres that lie in smooth regions, as tissue does, with noise of several widths."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CENTRES, DIM, generator=torch.Generator().manual_seed(0))
    coarse = torch.rand(n, 1, 4, 4, generator=generator) * CENTRES
    field = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    which = field[:, 0].long().clamp_max(CENTRES - 1)
    width = (0.2 + 0.6 * which / CENTRES)[..., None]
    patches = centres[which] + width * torch.randn(n, side, side, DIM, generator=generator)
    ones = torch.ones(n, side, side)
    height = 10 + 120 * torch.rand(n, generator=generator)
    volume = torch.arange(n) // 4
    return SliceBatch(patches, ones, field[:, 0] / CENTRES, patches[:, 0, 0].clone(), height, volume)


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, taken in turn in every round; the first round does not count."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            took = seconds(call)
            if round_:
                taken[name].append(took)
    return {name: median(times) for name, times in taken.items()}


@dataclass(slots=True)
class Fitted:
    """A detector after a short fit."""

    detector: Detector
    step_seconds: float
    """Median of a full batch."""
    end_seconds: float
    """Of the last `end_epoch`."""


def fit(kind: str, n_slices: int, epochs: int) -> Fitted:
    """Fit to made-up slices that exist one batch at a time.

    Args:
        kind: Of the registry.
        n_slices: In the cohort.
        epochs: At most; a kind that needs fewer takes fewer.
    """
    made = kinds()[kind]
    detector = made(**({"epochs": epochs} if "epochs" in made.model_fields else {})).build(0)
    side = grid(kind)
    detector.start(Reference(DIM, (side, side), n_slices, -(-n_slices // 4)))
    steps, ended = [0.0], 0.0
    for epoch in range(detector.epochs):
        for start in range(0, n_slices, detector.batch_slices):
            batch = slices(min(detector.batch_slices, n_slices - start), side, start)
            took = seconds(lambda batch=batch, epoch=epoch: detector.observe(batch, epoch))
            if len(batch) == detector.batch_slices or n_slices < detector.batch_slices:
                steps.append(took)
        last = epoch
        detector.held_out_loss(slices(1, side, 99_999))  # by which a combination takes its scale
        ended = seconds(lambda last=last: detector.end_epoch(last, None))
    # The first epoch may only draw, the later ones say what a step costs.
    return Fitted(detector, median(steps[len(steps) // 2 :]), ended)


def memory_of_fit(kind: str, n_slices: int) -> float:
    """Peak MiB that a fit of one epoch adds to a fresh process that has torch loaded."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory_of_fit, (kind, n_slices))


def _memory_of_fit(kind: str, n_slices: int) -> float:
    slices(1, grid(kind), 0)
    # 5 resets the peak to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    fit(kind, n_slices, epochs=1)
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def state_mib(detector: Detector) -> float:
    """What a bundle holds of it."""
    return sum(value.numel() * value.element_size() for value in detector.state().values()) / 2**20


def exact_nearest(tokens: Tensor, bank: Tensor) -> Tensor:
    """`1 - cos` to the nearest of a bank of unit tokens (token, dim), by blocks of one reused product."""
    query = torch.nn.functional.normalize(tokens, dim=1)
    best = torch.full((len(query),), -math.inf)
    product = torch.empty(len(query), BLOCK)
    for block in bank.split(BLOCK):
        out = product[:, : len(block)]
        if len(block) == BLOCK:
            torch.mm(query, block.T, out=out)
        else:
            out = query @ block.T
        torch.maximum(best, out.amax(1), out=best)
    return 1 - best


def textbook_step(tokens: Tensor, mixture: Mixture, to: Statistics, rate: float, products: bool) -> None:
    """A diagonal step as written: (token, component, dim) differences, then second moments.

    With `products`, those come from all (token, dim, dim) products, as in the published code; without,
    from squares. In the dtype of what is given.
    """
    away = tokens[:, None, :] - mixture.mean
    square = (away.square() / mixture.covariance).sum(2)
    log_volume = mixture.covariance.log().sum(1) + tokens.shape[1] * math.log(2 * math.pi)
    share = (mixture.log_weight - 0.5 * (square + log_volume)).softmax(1) / len(tokens)
    if products:
        pairs = tokens[:, :, None] * tokens[:, None, :]
        second = (share.T @ pairs.flatten(1)).view(-1, *pairs.shape[1:]).diagonal(dim1=1, dim2=2)
    else:
        second = share.T @ tokens.square()
    to.mass.lerp_(share.sum(0), rate)
    to.first.lerp_(share.T @ tokens, rate)
    to.second.lerp_(second, rate)
    mean = to.first / (to.mass + OURS.eps)[:, None]
    _ = to.second / (to.mass + OURS.eps)[:, None] - mean.square() + mixture.reg
