"""How far a volume lies from the training cohort, and how rare that is in a cohort drawn alike.

A volume is its mean token and the size of the steps between neighbouring slices: another kind of head moves
the first, another resolution the second (`described`). The training's participants are dealt to a few hands;
each hand is held against a Gaussian of all others (standardised, covariance shrunk after Ledoit and Wolf
2004, its largest directions kept and the rest taken alike). A new volume is held against the same Gaussians,
and `p = (1 + participants that lie at least as far) / (1 + participants)`: cross-conformal prediction (Vovk,
Annals of Mathematics and Artificial Intelligence 2015). Within a hand both sides are strangers to the
Gaussian, so that a volume drawn as the training was has `p <= 0.05` in about 5 % or less
(`docs/statistics.md`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.common.arrays import Floats, Ints
from cache_schema.common.errors import SlicecacheError

LEVEL = 0.05
"""The stated rate: a volume with a smaller p is flagged."""
HANDS = 5
DIRECTIONS = 64
"""Of a covariance that are kept, so that a bundle stays small: 0.2 MB per hand at 384 numbers a token."""
FEWEST = 19
"""Participants below which no p can reach `LEVEL`."""

FLOOR = 1e-6
"""Steps between slices are no smaller than this; those of real tokens are 1e-2 and more."""
NARROW = 1e-3
"""Of the median spread of all numbers: less is taken for none."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The Gaussian of all but one hand, and how far that hand lies from it."""

    mean: NDArray[np.float32]
    """(dim,)"""
    scale: NDArray[np.float32]
    """Standard deviations (dim,)."""
    basis: NDArray[np.float32]
    """Orthonormal directions of the standardised tokens (direction, dim)."""
    spectrum: NDArray[np.float32]
    """Variances along them (direction,)."""
    rest: NDArray[np.float32]
    """Variance along every other direction (1,)."""
    distances: Floats
    """Of the hand that was left out, ascending (participant,)."""

    def distance(self, x: Floats) -> Floats:
        """Mahalanobis distance of descriptions (row, dim): (row,)."""
        z = (np.asarray(x, dtype=np.float64) - self.mean) / self.scale
        along = z @ self.basis.T.astype(np.float64)
        beyond = np.maximum((z**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.asarray(np.sqrt((along**2 / self.spectrum).sum(axis=1) + beyond / self.rest))

    @property
    def typical(self) -> float:
        """The median of the hand that was left out."""
        return max(float(np.median(self.distances)), 1e-12)


@dataclass(frozen=True, slots=True)
class Familiarity:
    """Row by row: how far, and how rare that is in a cohort drawn alike."""

    distance: Floats
    """Times the median of the training's participants; the mean over hands."""
    p: Floats

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Whose p is at most `LEVEL`."""
        return self.p <= LEVEL


def described(bags: Bags) -> Floats:
    """What volumes are compared by (bag, 2 dim): mean token, and log of the root mean square step.

    Steps are differences of neighbouring kept slices, dimension by dimension; a single slice has none.

    Args:
        bags: Some of them, in memory.
    """
    x, keep = bags.x[:].double().numpy(), bags.keep.numpy()
    rows = []
    for tokens, real in zip(x, keep, strict=True):
        own = tokens[real]
        steps = np.diff(own, axis=0) if len(own) > 1 else np.zeros((1, own.shape[1]))
        rows.append(np.concatenate([own.mean(axis=0), np.log(np.sqrt((steps**2).mean(axis=0)) + FLOOR)]))
    return np.array(rows)


def deal_hands(n: int, hands: int = HANDS) -> Ints:
    """The hand of every participant, drawn once and for all (participant,)."""
    return np.random.Generator(np.random.PCG64(0)).permutation(np.arange(n, dtype=np.int64) % hands)


def fit_references(x: Floats, hand: Ints) -> tuple[Reference, ...]:
    """One Gaussian per hand, of all others.

    Args:
        x: Of every participant of the training, as `described` (participant, dim).
        hand: Of every participant, counting from 0.
    """
    found = []
    for own in range(int(hand.max()) + 1):
        bare = _gaussian(x[hand != own])
        found.append(replace(bare, distances=np.sort(bare.distance(x[hand == own]))))
    return tuple(found)


def _gaussian(x: Floats) -> Reference:
    """Of these rows, in the numbers that are stored; nobody's distances yet."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    mean, sd = x.mean(axis=0), x.std(axis=0)
    # A number that never varied is known exactly: another value of it is far, and not one of unit spread.
    sd = np.maximum(sd, NARROW * float(np.median(sd)) or 1.0)
    z = (x - mean) / sd
    n, dim = z.shape
    shrinkage = float(ledoit_wolf_shrinkage(z, assume_centered=True))
    values, vectors = np.linalg.eigh(z.T @ z / n) if n > dim else _thin(z)
    kept = min(DIRECTIONS, n - 1, dim)
    level = max(float((z**2).mean()), 1e-12)
    spectrum = (1 - shrinkage) * values[::-1] + shrinkage * level
    others = (1 - shrinkage) * (level * dim - float(values[::-1][:kept].sum())) / max(dim - kept, 1)
    rest = np.array([max(others + shrinkage * level, 1e-6 * level)])
    spectrum = np.maximum(spectrum[:kept], 1e-6 * level)
    parts = (mean, sd, vectors[:, ::-1][:, :kept].T, spectrum, rest)
    m, s, b, v, r = (np.ascontiguousarray(part, dtype=np.float32) for part in parts)
    return Reference(mean=m, scale=s, basis=b, spectrum=v, rest=r, distances=np.zeros(0))


def _thin(z: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues, ascending, and vectors of the covariance of fewer rows than columns."""
    _, values, vectors = np.linalg.svd(z, full_matrices=False)
    return (values**2 / len(z))[::-1], vectors.T[:, ::-1]


def familiarity(references: Sequence[Reference], x: Floats) -> Familiarity:
    """Of volumes whose participants were not in training.

    Args:
        references: Of the training.
        x: As `described` (row, dim).
    """
    farther, ratio = np.zeros(len(x)), np.zeros(len(x))
    for reference in references:
        own = reference.distance(x)
        farther += len(reference.distances) - np.searchsorted(reference.distances, own, side="left")
        ratio += own / reference.typical / len(references)
    n = sum(len(reference.distances) for reference in references)
    return Familiarity(ratio, (1 + farther) / (1 + n))


def own_familiarity(references: Sequence[Reference], x: Floats, hand: Ints) -> Familiarity:
    """Of volumes of the training's participants: against the Gaussian that left them out.

    Args:
        references: Of the training.
        x: As `described` (row, dim).
        hand: Of every row.
    """
    every = np.sort(np.concatenate([found.distances / found.typical for found in references]))
    ratio = np.array(
        [references[h].distance(row[None])[0] / references[h].typical for h, row in zip(hand, x, strict=True)]
    )
    farther = len(every) - np.searchsorted(every, ratio * (1 - 1e-9), side="left")
    return Familiarity(ratio, (1 + farther) / (1 + len(every)))


def reference_tensors(references: Sequence[Reference]) -> dict[str, Tensor]:
    """Tensors of a bundle: `<hand>/<part>`."""
    return {
        f"{hand}/{field.name}": torch.from_numpy(getattr(found, field.name).copy())
        for hand, found in enumerate(references)
        for field in fields(found)
    }


def read_references(
    tensors: Mapping[str, Tensor], hands: Ints, dim: int, where: str
) -> tuple[Reference, ...]:
    """References from a bundle, which may come from anybody.

    Args:
        tensors: As `reference_tensors` made them.
        hands: Of the training's participants.
        dim: Numbers of a description.
        where: The bundle.

    Raises:
        SlicecacheError: If a part is missing, of another shape, or cannot be a part of a Gaussian.
    """
    found = []
    for hand, count in enumerate(np.bincount(hands).tolist()):
        parts = {field.name: tensors.get(f"{hand}/{field.name}") for field in fields(Reference)}
        if not _sound(parts, dim, count):
            raise SlicecacheError(
                f"the bundle {where} does not say soundly what its training cohort looks like (familiarity/"
                f"{hand}); copy it again"
            )
        arrays = {name: part.numpy() for name, part in parts.items() if part is not None}
        found.append(Reference(**arrays))
    return tuple(found)


def _sound(parts: Mapping[str, Tensor | None], dim: int, count: int) -> bool:
    """Whether these are the parts of a reference for so many participants."""
    given = {name: part for name, part in parts.items() if part is not None}
    if len(given) < len(parts) or given["basis"].ndim != 2:
        return False
    directions = given["basis"].shape[0]
    shapes = {"mean": (dim,), "scale": (dim,), "basis": (directions, dim), "spectrum": (directions,)}
    shapes |= {"rest": (1,), "distances": (count,)}
    kinds = {name: torch.float64 if name == "distances" else torch.float32 for name in given}
    if any(tuple(given[name].shape) != shapes[name] or given[name].dtype != kinds[name] for name in given):
        return False
    positive = all(bool((given[name] > 0).all()) for name in ("scale", "spectrum", "rest"))
    ascending = torch.cat([torch.zeros(1, dtype=torch.float64), given["distances"]]).diff() >= 0
    return positive and bool(ascending.all()) and count > 0
