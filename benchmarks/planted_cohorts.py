"""Cohorts of drawn tokens with a known truth: what patients have, in which slices, how strongly.

    statistics = fit_statistics(open_store("cache.zarr"), "cls")
    cohort = plant(statistics, "focal_wandering", n=100, strength=2.0, seed=0)
    fresh = plant(statistics, "focal_wandering", n=2000, strength=2.0, seed=0, part=1)

A seed fixes the directions of an effect; parts of a seed are other bags with the same effect. Directions are
drawn as participants differ, so that a sign is of the kind that a mean over slices drowns in.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from planted_statistics import Statistics, line, take_apart

from aggregate.bags.bags import Bags
from aggregate.baselines.baselines import mean_pool
from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.metrics import auroc
from aggregate.training.solving.logistic import solve_chosen

Effect = Literal["diffuse", "focal_fixed", "focal_wandering", "interaction", "nothing"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
FEWEST = 44
"""Of 50 slices: the fewest that a drawn bag keeps."""
SIGNS = 3
"""Neighbouring slices of a focal sign."""
INTERACTION = 12.0
"""Strength of an interaction: no strength shows to the mean, so none is searched for."""
EDITION = 2
"""Of the effects: raised when one is changed, so that strengths of the former are not taken for its own."""
AIM = 0.67
"""AUROC of mean pooling and logistic regression that the strength is set for."""


@dataclass(frozen=True, slots=True)
class Planted:
    """Bags with their truth."""

    bags: Bags
    y: Ints
    """1 = patient; half of the bags (bag,)."""
    planted: NDArray[np.bool_]
    """Slices that carry a sign (bag, slice)."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One shift of tokens."""

    slices: NDArray[np.bool_]
    """(bag, slice)"""
    shift: Floats
    """At strength 1: a Mahalanobis distance of 1 among the residuals (dim,)."""


def draw(statistics: Statistics, n: int, seed: int | tuple[int, ...]) -> Bags:
    """Draw `n` bags, between 88 and 100 % of the places kept, from the vertex downwards; pads at the end."""
    generator = np.random.default_rng(seed)
    places, dim = statistics.mean.shape

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape, dtype=np.float32)

    count = generator.integers(-(-FEWEST * places // 50), places + 1, n)
    rank = len(statistics.people.low)
    own = statistics.people.draw(normal(n, rank), normal(n, 2 * dim)).reshape(n, 2, dim)
    factors = _regress(normal(n, places, len(statistics.slices.low)), statistics.kept_of_factor)
    left = _regress(normal(n, places, dim), np.asarray(statistics.kept_of_rest))
    x = statistics.slices.draw(factors, left)
    x *= statistics.spread[:, None].astype(np.float32)
    basis = line(places).astype(np.float32)
    own -= np.linalg.pinv(basis) @ x
    x += basis @ own
    x += statistics.mean.astype(np.float32)
    index = np.minimum(np.arange(places) + (places - count)[:, None], places - 1)
    keep = np.arange(places) < count[:, None]
    x = np.take_along_axis(x, index[:, :, None], axis=1) * keep[:, :, None]
    height = (statistics.height_mm[index] * keep).astype(np.float32)
    return Bags(torch.from_numpy(x), torch.from_numpy(keep), torch.from_numpy(height))


def plant(
    statistics: Statistics, effect: Effect, n: int, strength: float, seed: int, part: int = 0
) -> Planted:
    """Draw a cohort and add the effect.

    Args:
        statistics: Of real brains.
        effect: What patients have.
        n: Bags, half of them patients.
        strength: By how many standard deviations of the slices' residuals the sign moves a token, as the
            best linear view of slices sees it (Mahalanobis).
        seed: Of directions and bags.
        part: Other bags with the same directions.
    """
    bags = draw(statistics, n, (seed, part, 0))
    y, signs = signs_of(statistics, effect, bags.keep.numpy(), seed, part)
    x, planted = bags.x.numpy(), np.zeros(bags.keep.shape, dtype=np.bool_)
    for sign in signs:
        x[sign.slices] += (strength * sign.shift).astype(np.float32)
        planted |= sign.slices
    return Planted(bags, y, planted)


def signs_of(
    statistics: Statistics, effect: Effect, keep: NDArray[np.bool_], seed: int, part: int
) -> tuple[Ints, list[Sign]]:
    """Labels, and what is to be added where."""
    generator = np.random.default_rng((seed, part, 1))
    y = generator.permutation(np.arange(len(keep)) % 2)
    shifts = draw_shifts(statistics, seed)
    count = keep.sum(axis=1)
    patients = (y == 1)[:, None]
    if effect == "diffuse":
        return y, [Sign(keep & patients, shifts[0])]
    if effect == "interaction":
        return y, _pairs(keep, y, shifts, generator)
    if effect == "nothing":
        return y, []
    wanders = generator.integers(0.1 * count, 0.9 * count - SIGNS + 1)
    # A fifth of the way from the vertex, which is the last slice kept.
    start = wanders if effect == "focal_wandering" else count - keep.shape[1] // 5 - SIGNS
    from_start = np.arange(keep.shape[1]) - start[:, None]
    return y, [Sign((from_start >= 0) & (from_start < SIGNS) & patients, shifts[0])]


def _pairs(
    keep: NDArray[np.bool_], y: Ints, shifts: Sequence[Floats], generator: np.random.Generator
) -> list[Sign]:
    """Two slices in the middle 80 %: patients have sign A on one and B on the other, others twice A or B.

    The classes agree in how often they have either, so their means do not differ.
    """
    count = keep.sum(axis=1, keepdims=True)
    places = np.arange(keep.shape[1])
    order = np.where((places >= 0.1 * count) & (places < 0.9 * count), generator.random(keep.shape), 2.0)
    first, second = np.argsort(order, axis=1)[:, :2].T
    one, other = (places == at[:, None] for at in (first, second))
    only_a = (generator.permutation(len(y)) % 2 == 0)[:, None]
    patients = (y == 1)[:, None]
    return [
        Sign(np.where(patients, one, (one | other) & only_a), shifts[0]),
        Sign(np.where(patients, other, (one | other) & ~only_a), shifts[1]),
    ]


def draw_shifts(statistics: Statistics, seed: int) -> list[Floats]:
    """Two shifts, drawn as participants' offsets are, each at a Mahalanobis distance of 1 among residuals.

    Drawn as residuals are, a sign would show to the mean nearly as well as to whoever looks at slices, since
    participants hardly differ in most of what slices differ by.
    """
    generator, people, dim = np.random.default_rng((seed, 2)), statistics.people, statistics.dim
    low, rest = people.low[:, :dim], people.rest[:dim]
    found = generator.standard_normal((2, len(low))) @ low + generator.standard_normal((2, dim)) * rest
    return [shift / statistics.slices.distance(shift) for shift in found]


def mean_logistic(train: Floats, y: Ints, test: Floats) -> Floats:
    """Logits of fresh bags by the baseline: logistic regression on pooled tokens, penalty by inner folds."""
    weight, own = np.ones(len(y)), np.arange(len(y))
    found = solve_chosen(train, y, weight, own, y, 2).log_probabilities(test)
    return found[:, 1] - found[:, 0]


def find_strength(
    statistics: Statistics, effect: Effect, n: int, folder: Path | None = None, seeds: int = 8
) -> float:
    """The strength at which the baseline, trained on `n` bags, reaches `AIM` on fresh ones; kept in a folder.

    Args:
        statistics: Of real brains.
        effect: Those that the mean cannot show have a fixed strength.
        n: Bags to train on.
        folder: Where strengths are kept from call to call.
        seeds: Cohorts that AUROC is averaged over, each with 600 fresh bags.
    """
    if effect in ("interaction", "nothing"):
        return INTERACTION if effect == "interaction" else 0.0
    file = folder / "strengths.json" if folder else None
    known: dict[str, float] = json.loads(file.read_text()) if file and file.exists() else {}
    # The mean does not see where a sign is.
    effect = "focal_wandering" if effect == "focal_fixed" else effect
    name = f"{effect} n={n} dim={statistics.dim} {statistics.digest} edition {EDITION}"
    if name not in known:
        # Seeds that no table uses.
        cells = [_pooled(statistics, effect, n, 10_000 + seed) for seed in range(seeds)]
        known[name] = _bisect(lambda s: float(np.mean([cell(s) for cell in cells])), AIM)
        if file:
            file.write_text(json.dumps(known, indent=1) + "\n")
    return known[name]


def _pooled(statistics: Statistics, effect: Effect, n: int, seed: int) -> Callable[[float], float]:
    """AUROC on fresh bags by strength: pooled tokens are linear in it, so bags are drawn once."""
    parts = []
    for part, size in ((0, n), (1, 600)):
        bags = draw(statistics, size, (seed, part, 0))
        y, signs = signs_of(statistics, effect, bags.keep.numpy(), seed, part)
        count = bags.keep.sum(1, keepdim=True).numpy()
        added = sum(sign.slices.sum(axis=1, keepdims=True) / count * sign.shift for sign in signs)
        parts.append((mean_pool(bags), added, y))
    (x, a, y), (fresh, b, truth) = parts
    return lambda strength: auroc(truth, mean_logistic(x + strength * a, y, fresh + strength * b))


def _bisect(rising: Callable[[float], float], aim: float, steps: int = 8) -> float:
    """Where a function rises to `aim`, from 0 on."""
    low, high = 0.0, 4.0
    while rising(high) < aim:
        low, high = high, 2 * high
        if high > 256:
            raise SystemExit(f"no strength below {high} brings the baseline to an AUROC of {aim}")
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < aim else (low, middle)
    return round((low + high) / 2, 3)


def describe(bags: Bags, slices: int = 50) -> dict[str, float]:
    """What real and drawn cohorts are compared by."""
    parts = take_apart(bags, slices)
    volumes = [x[k].numpy().astype(float) for x, k in zip(bags.x, bags.keep, strict=True)]
    means = np.stack([x.mean(axis=0) for x in volumes])
    means -= means.mean(axis=0)
    every, residuals = np.concatenate(volumes), np.concatenate(parts.residuals)
    size = _size(every - every.mean(axis=0))
    found = {"participants / slices": _size(means) / size, "residuals / slices": _size(residuals) / size}
    for lag in (1, 2, 4):
        products = sum(float((r[lag:] * r[:-lag]).sum()) for r in parts.residuals)
        found[f"autocorrelation at {lag}"] = products / float((residuals**2).sum())
    for name, table in (("participants", means), ("residuals", residuals)):
        variance = np.linalg.svd(table, compute_uv=False) ** 2
        share = np.cumsum(variance) / variance.sum()
        found[f"effective dimensions, {name}"] = float(variance.sum() ** 2 / (variance**2).sum())
        found[f"dimensions of 90 %, {name}"] = float(np.searchsorted(share, 0.9) + 1)
    return found


def _regress(x: NDArray[np.float32], kept: Floats) -> NDArray[np.float32]:
    """Make independent numbers (bag, place, column) an autoregression of variance 1 along `place`."""
    kept = kept.astype(np.float32)
    new = np.sqrt(1 - kept**2)
    for place in range(1, x.shape[1]):
        x[:, place] = kept * x[:, place - 1] + new * x[:, place]
    return x


def _size(table: Floats) -> float:
    return float(np.sqrt((table**2).sum(axis=1).mean()))
