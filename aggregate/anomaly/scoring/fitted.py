"""A fitted detector with what held-out normals say of its scores: thresholds of tokens and of volumes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.anomaly.detectors.base import Detector
from aggregate.anomaly.fitting.normalise import FALSE_POSITIVES, SLICES, ScoreCalibration, calibration_of
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.scoring.volumes import (
    ScoreArray,
    Surroundings,
    VolumeScores,
    standardise_scores,
    volume_score,
)

RATES = {"fpr10": FALSE_POSITIVES[0], "fpr05": FALSE_POSITIVES[1], "fpr01": FALSE_POSITIVES[2]}
"""Names of the false positive rates, as in `dice_fpr05`."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """One detector of one seed, ready to score."""

    name: str
    detector: Detector
    baseline: bool
    calibration: ScoreCalibration
    volume_limits: Mapping[str, float | None]
    """By rate: what a normal volume's score exceeds no more often; None where calibration normals are too
    few to say."""

    @property
    def seed(self) -> int:
        """Of the fit."""
        return self.detector.seed

    @property
    def smooth_pixels(self) -> float:
        """Of its maps."""
        return self.detector.smooth_pixels

    @property
    def thresholds(self) -> dict[str, float]:
        """On token scores, by the rate's name."""
        return {name: self.calibration.thresholds[rate] for name, rate in RATES.items()}

    def scaled(self, scores: VolumeScores, around: Surroundings) -> VolumeScores:
        """A volume's scores as they are reported."""
        return standardise_scores(scores, self.calibration.scale, around.height_mm)

    def judge(self, scores: VolumeScores, around: Surroundings) -> "Judged":
        """One volume's row.

        Args:
            scores: Already scaled.
            around: Of the volume.
        """
        inside = scores.tokens[around.foreground > 0]
        value = volume_score(scores.tokens, around.foreground)
        shares = {
            name: float((inside > threshold).mean()) if len(inside) else 0.0
            for name, threshold in self.thresholds.items()
        }
        above = {name: None if limit is None else value > limit for name, limit in self.volume_limits.items()}
        return Judged(value, shares, above)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of one volume."""

    score: float
    shares: Mapping[str, float]
    """Of its foreground tokens above each token threshold; of normals about the rate itself."""
    above: Mapping[str, bool | None]
    """Whether its score exceeds what normals' do at each rate; None where too few normals can say."""


Read = Callable[[StudyVolume], tuple[VolumeScores, Surroundings]]
"""Gives a scored volume."""


def calibrated(
    name: str,
    detector: Detector,
    baseline: bool,
    normals: Sequence[StudyVolume],
    read: Read,
    per_height: bool,
) -> Fitted:
    """Set a fitted detector's thresholds by the calibration part, which no other volume has a say in.

    Args:
        name: In tables.
        detector: Fitted.
        baseline: Whether it is one.
        normals: The calibration part.
        read: Gives their raw scores.
        per_height: Standardise scores by height.
    """
    found: list[tuple[float, ScoreArray]] = []
    chosen = drawn([_slices(member) for member in normals])
    for member, slices in zip(normals, chosen, strict=True):
        if len(slices):
            scores, around = read(member)
            found += foreground_scores(scores, around, slices)
    calibration = calibration_of(found, per_height)
    bare = Fitted(name, detector, baseline, calibration, {})
    highest: dict[str, float] = {}
    for member in normals:
        raw, around = read(member)
        value = volume_score(bare.scaled(raw, around).tokens, around.foreground)
        highest[member.participant] = max(value, highest.get(member.participant, -math.inf))
    limits = {rate: volume_limit(list(highest.values()), share) for rate, share in RATES.items()}
    return Fitted(name, detector, baseline, calibration, limits)


def foreground_scores(
    scores: VolumeScores, around: Surroundings, slices: Sequence[int]
) -> list[tuple[float, ScoreArray]]:
    """Height and foreground token scores of some of a volume's slices."""
    return [
        (float(around.height_mm[place]), scores.tokens[place][around.foreground[place] > 0])
        for place in slices
    ]


def drawn(slices: Sequence[Sequence[int]], most: int = SLICES) -> list[Sequence[int]]:
    """At most so many of the volumes' slices, drawn at random over all of them."""
    lengths = [len(own) for own in slices]
    if sum(lengths) <= most:
        return list(slices)
    kept = np.zeros(sum(lengths), dtype=bool)
    kept[np.random.default_rng(0).permutation(len(kept))[:most]] = True
    parts = np.split(kept, np.cumsum(lengths)[:-1])
    return [np.asarray(own)[part].tolist() for own, part in zip(slices, parts, strict=True)]


def volume_limit(scores: Sequence[float], rate: float) -> float | None:
    """What the score of one more normal exceeds with a probability of at most `rate`.

    The smallest of `n` exchangeable normal scores with rank `ceil((n + 1) (1 - rate))` (split conformal);
    None where that rank is beyond `n`: 19 normals are needed for 5 %, 99 for 1 %.
    """
    rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    return None if rank > len(scores) else sorted(scores)[rank - 1]


def _slices(member: StudyVolume) -> Sequence[int]:
    """A calibration volume's slices of the reference group."""
    return range(member.entry.n_slices) if member.slices is None else member.slices
