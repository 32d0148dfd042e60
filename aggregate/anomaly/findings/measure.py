"""How well one fitted detector does on held-out volumes: voxels where there are masks, slices, volumes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregate.anomaly.maps.placement import placement
from aggregate.anomaly.measure.histogram import Bins, VoxelTally, empty_tally, score_bins
from aggregate.anomaly.measure.intervals import DRAWS, auroc_draws, participant_draws
from aggregate.anomaly.measure.metrics import image_metrics, pixel_metrics
from aggregate.anomaly.measure.regions import Region, ground_of
from aggregate.anomaly.measure.tally import tally_volume
from aggregate.anomaly.measure.truth import LesionTruth, lesion_slices
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.scoring.fitted import Fitted, Read
from aggregate.anomaly.scoring.volumes import VolumeScores, volume_score
from cache_schema.common.terminal.progress import counting
from cache_schema.format.identity import VolumeKey

REGIONS: tuple[Region, ...] = ("all", "foreground")
COARSE = 16
"""Neighbouring bins that intervals take as one."""
SAMPLE = 4_000_000
"""Token scores, at most, that bins are laid out by, beside the lowest and the highest."""

Draws = NDArray[np.float64]


class VolumeCase(NamedTuple):
    """A held-out volume that has a label."""

    key: VolumeKey
    sick: bool
    score: float


@dataclass(slots=True)
class MeasuredDetector:
    """What came out for one fitted detector; what is not defined is absent or NaN."""

    fitted: Fitted
    ms_per_slice: float
    pixels: dict[Region, dict[str, float]] = field(default_factory=dict)
    """As `pixel_metrics.measure` gives them."""
    draws: dict[tuple[str, str], Draws] = field(default_factory=dict)
    """By (region, metric): values over draws of participants; slices and volumes have region `""`."""
    whole: dict[str, float] = field(default_factory=dict)
    """AUROC, average precision and best F1 of slices and of volumes, as in `WHOLE_COLUMNS`."""
    participants: tuple[str, ...] = ()
    """Who was drawn from, for voxels."""
    by_volume: tuple[str, ...] = ()
    """Who was drawn from, for volumes."""
    cases: tuple[VolumeCase, ...] = ()
    """The volumes whose label is known, with their scores."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One volume with a label."""

    member: StudyVolume
    sick: bool


def held_out(members: Sequence[StudyVolume]) -> list[StudyVolume]:
    """Volumes that had no part in the detectors."""
    return [member for member in members if member.part in ("test", "other")]


def labelled(members: Sequence[StudyVolume], truth: LesionTruth | None) -> list[Labelled]:
    """Held-out volumes whose label is known: by their mask, else by the reference group's column."""
    found, own = [], held_out(members)
    with counting("reading masks", len(own)) as count:
        for member in own:
            if truth is not None and member.key in truth.masks:
                found.append(Labelled(member, bool(truth.read(member.record).any())))
            elif member.normal is not None:
                found.append(Labelled(member, not member.normal))
            count()
    return found


def measure_fitted(
    fitted: Fitted,
    members: Sequence[StudyVolume],
    truth: LesionTruth | None,
    labels: Sequence[Labelled],
    read: Read,
    progress: Callable[[], None] | None = None,
) -> MeasuredDetector:
    """Measure one detector of one seed on the held-out volumes.

    Args:
        fitted: With thresholds from the calibration part.
        members: All of its store.
        truth: Lesion masks, if there are any.
        labels: From `labelled`.
        read: Gives a volume's raw scores.
        progress: Told of every volume that was counted.
    """
    own = held_out(members)
    seconds = slices = 0.0
    for member in own:
        raw, _ = read(member)
        seconds, slices = seconds + raw.seconds, slices + len(raw.slices)
    out = MeasuredDetector(fitted, 1000 * seconds / slices if slices else float("nan"))
    _volumes(out, labels, read)
    known = [member for member in own if truth is not None and truth.known(member.key)]
    if truth is not None and known:
        _voxels(out, known, truth, read, progress)
    return out


def as_reported(fitted: Fitted, member: StudyVolume, read: Read) -> VolumeScores:
    """A volume's scores as they are reported."""
    raw, around = read(member)
    return fitted.scaled(raw, around)


def _volumes(out: MeasuredDetector, labels: Sequence[Labelled], read: Read) -> None:
    """AUROC, average precision and best F1 of volume scores."""
    if not labels:
        return
    y = np.array([one.sick for one in labels])
    scores = []
    for one in labels:
        raw, around = read(one.member)
        scores.append(volume_score(out.fitted.scaled(raw, around).tokens, around.foreground))
    out.by_volume = tuple(one.member.participant for one in labels)
    out.cases = tuple(
        VolumeCase(one.member.key, one.sick, score) for one, score in zip(labels, scores, strict=True)
    )
    if y.any() and not y.all():
        _whole(out, "volume", y, np.array(scores), out.by_volume)


def _voxels(
    out: MeasuredDetector,
    known: Sequence[StudyVolume],
    truth: LesionTruth,
    read: Read,
    progress: Callable[[], None] | None,
) -> None:
    """Count voxels and slices, participant by participant."""
    fitted = out.fitted
    bins = bins_of(fitted, known, read)
    thresholds = fitted.thresholds
    people: dict[str, dict[Region, VoxelTally]] = {}
    whole: dict[Region, VoxelTally] = {region: empty_tally(bins, len(thresholds)) for region in REGIONS}
    y: list[NDArray[np.bool_]] = []
    slices: list[NDArray[np.float32]] = []
    whose: list[str] = []
    for member in known:
        raw, around = read(member)
        scores = fitted.scaled(raw, around)
        grid = (scores.tokens.shape[1], scores.tokens.shape[2])
        bare = placement(member.record, grid)
        lesion = truth.read(member.record)
        ground = ground_of(lesion, bare, around.foreground)
        place = placement(member.record, grid, fitted.smooth_pixels) if fitted.smooth_pixels else bare
        counted = tally_volume(scores.tokens, place, ground, bins, list(thresholds.values()))
        own = people.setdefault(member.participant, {})
        for region, tally in counted.items():
            whole[region] = whole[region] + tally
            small = tally.coarse(COARSE)
            own[region] = own[region] + small if region in own else small
        y.append(lesion_slices(lesion, bare))
        slices.append(scores.slices)
        whose += [member.participant] * len(scores.slices)
        if progress is not None:
            progress()
    out.participants = tuple(people)
    for region in REGIONS:
        out.pixels[region] = pixel_metrics(whole[region], bins, list(thresholds))
        drawn = participant_draws([own[region] for own in people.values()], list(thresholds), DRAWS)
        out.draws |= {(region, metric): values for metric, values in drawn.items()}
    _slices(out, np.concatenate(y), np.concatenate(slices), whose)


def _slices(
    out: MeasuredDetector, y: NDArray[np.bool_], scores: NDArray[np.float32], whose: Sequence[str]
) -> None:
    """AUROC, average precision and best F1 of slice scores."""
    if y.any() and not y.all():
        _whole(out, "slice", y, scores, whose)


def _whole(
    out: MeasuredDetector,
    unit: str,
    y: NDArray[np.bool_],
    scores: NDArray[np.floating],
    whose: Sequence[str],
) -> None:
    """Of slices or volumes, both sick and not; AUROC with its draws of participants."""
    value, draws = auroc_draws(y, scores, whose, DRAWS)
    out.whole[f"{unit}_auroc"], out.draws["", f"{unit}_auroc"] = value, draws
    out.whole |= {f"{unit}_{name}": found for name, found in image_metrics(y, scores).items()}


def bins_of(fitted: Fitted, known: Sequence[StudyVolume], read: Read) -> Bins:
    """Bins over the token scores of the volumes that are measured, from a bounded sample of them."""
    total = sum(read(member)[0].tokens.size for member in known)
    step = max(1, -(-total // SAMPLE))
    found: list[NDArray[np.float32]] = []
    for member in known:
        tokens = as_reported(fitted, member, read).tokens.ravel()
        found += [tokens[::step], np.array([tokens.min(), tokens.max()])]
    return score_bins(np.concatenate(found))


def rows_of(measured: MeasuredDetector) -> list[dict[str, object]]:
    """The rows of `detectors.csv`, one per region."""
    return [
        {
            "detector": measured.fitted.name,
            "seed": str(measured.fitted.seed),
            "region": region,
            **csv_values(measured.pixels.get(region, {}), measured.whole),
            "numbers": numbers_of(measured.fitted),
            "ms_per_slice": measured.ms_per_slice,
        }
        for region in REGIONS
    ]


PIXEL_COLUMNS: Mapping[str, str] = {
    "prevalence": "prevalence",
    "pixel_auroc": "pixel_auroc",
    "pixel_ap": "pixel_ap",
    "aupro": "aupro",
    "dice_oracle": "dice_oracle",
    "dice_fpr05": "dice_fpr05",
    "lesion_sensitivity": "lesion_sensitivity_fpr05",
}
"""Column of `detectors.csv` -> metric."""

WHOLE_COLUMNS = (
    "slice_auroc",
    "slice_ap",
    "slice_f1_max",
    "volume_auroc",
    "volume_ap",
    "volume_f1_max",
)


def numbers_of(fitted: Fitted) -> int:
    """How many a fit keeps: what is stored, and what a score is worked out from."""
    return sum(value.numel() for value in fitted.detector.state().values())


def csv_values(pixels: Mapping[str, float], whole: Mapping[str, float]) -> dict[str, float]:
    """The metrics of one row; NaN where not defined."""
    nan = float("nan")
    row = {column: pixels.get(metric, nan) for column, metric in PIXEL_COLUMNS.items()}
    return row | {name: whole.get(name, nan) for name in WHOLE_COLUMNS}
