"""Fitted detectors that can be applied elsewhere, as JSON and safetensors, never a pickle.

`bundle.json` says what the members are, which embeddings they read, what the reference group was like and
who was in it; `members.safetensors` holds `<member>/state/<tensor>` and `<member>/height/{mean,sd}`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from aggregate.anomaly.arithmetic.heights import HEIGHT_BINS
from aggregate.anomaly.arithmetic.scales.height_scale import HeightScale
from aggregate.anomaly.detectors.base import Detector, Reference, layers_of
from aggregate.anomaly.detectors.custom import CustomDetectorSpec
from aggregate.anomaly.detectors.registry import DetectorSpec
from aggregate.anomaly.fitting.normalise import ScoreCalibration
from aggregate.anomaly.reference.group import Part
from aggregate.anomaly.reference.likeness import ReferenceProfile
from aggregate.anomaly.scoring.fitted import RATES, Fitted
from aggregate.predict.bundle_files import (
    CARD_BYTES,
    CARD_FILE,
    WEIGHTS_FILE,
    CardBase,
    allow_parts,
    read_card,
    read_file,
    read_tensors,
    tensors_below,
    write_bundle_files,
)
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import Strict, later
from cache_schema.common.text.mistakes import shown
from cache_schema.format.limits import MAX_ROWS, Extent

LARGEST = 50_000_000
"""Of a detector's own numbers (sizes, samples, components), when it comes in a bundle."""


class DetectorMember(Strict):
    """One fitted detector and its thresholds."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}$")
    """In tables; with the seed unique in the bundle."""
    seed: int
    detector: DetectorSpec
    thresholds: dict[str, float]
    """On token scores, by the name of the false positive rate."""
    volume_limits: dict[str, float | None]
    per_height: bool
    calibration_slices: int
    calibration_tokens: int
    source: str | None = later(None)
    """Digest of the code of a detector from outside."""

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        if not RATES.keys() == self.thresholds.keys() == self.volume_limits.keys():
            raise ValueError(f"thresholds and volume_limits must be of {', '.join(RATES)}")
        numbers = [n for spec in self.detector.whole for n in spec.model_dump().values()]
        large = [n for n in numbers if isinstance(n, int) and abs(n) > LARGEST]
        if large:
            raise ValueError(
                f"the detector {self.name} asks for {shown(large[0])} of something, {LARGEST} at most"
            )
        return self

    @property
    def prefix(self) -> str:
        """Of its tensors."""
        return f"{self.name}-s{self.seed}"


class DetectorCard(CardBase):
    """All that a bundle of detectors says in words and numbers."""

    format: Literal["slicecache-detectors"] = "slicecache-detectors"
    dim: Extent
    grid: tuple[Extent, Extent]
    n_slices: PositiveInt = Field(le=MAX_ROWS * 1000)
    """That were fitted on."""
    n_volumes: PositiveInt = Field(le=MAX_ROWS)
    reference: str
    """Who the normals were, in words."""
    profile: ReferenceProfile
    participants: dict[Part, tuple[str, ...]]
    """Of the reference group, by part."""
    members: tuple[DetectorMember, ...] = Field(min_length=1)

    @property
    def layers(self) -> tuple[str, ...]:
        """Arrays of inner blocks that the members read."""
        return layers_of(member.detector for member in self.members)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [member.prefix for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"a member stands twice in {', '.join(sorted(names))}")
        return self


@dataclass(frozen=True, slots=True, repr=False)
class DetectorBundle:
    """The card and the fitted detectors, in the card's order."""

    card: DetectorCard
    fitted: tuple[Fitted, ...]

    def __repr__(self) -> str:
        return f"<DetectorBundle of {', '.join(dict.fromkeys(one.name for one in self.fitted))}>"

    @property
    def layers(self) -> tuple[str, ...]:
        """Arrays of inner blocks that its detectors read."""
        return self.card.layers


def detector_member(fitted: Fitted) -> DetectorMember:
    """Describe a fitted detector."""
    spec = fitted.detector.spec
    return DetectorMember(
        name=fitted.name,
        seed=fitted.seed,
        # Paths of this machine mean nothing elsewhere.
        detector=spec.model_copy(update={"store": None} | ({"views": ()} if spec.view_stores else {})),
        thresholds=fitted.thresholds,
        volume_limits=dict(fitted.volume_limits),
        per_height=fitted.calibration.scale is not None,
        calibration_slices=fitted.calibration.n_slices,
        calibration_tokens=fitted.calibration.n_tokens,
        source=fitted.detector.source,
    )


def save_detectors(folder: Path, card: DetectorCard, fitted: Sequence[Fitted]) -> None:
    """Write both files; the card comes last, so that a folder without one is no bundle."""
    tensors: dict[str, Tensor] = {}
    for member, one in zip(card.members, fitted, strict=True):
        state = one.detector.state()
        tensors |= {f"{member.prefix}/state/{name}": value for name, value in state.items()}
        if one.calibration.scale is not None:
            scale = one.calibration.scale
            tensors |= {f"{member.prefix}/height/mean": scale.mean, f"{member.prefix}/height/sd": scale.sd}
    write_bundle_files(folder, card, tensors)


def load_detectors(folder: Path, custom: Iterable[Any] = (), *, allow_custom: bool = False) -> DetectorBundle:
    """Read a bundle and check that it is whole.

    Args:
        folder: Of the bundle.
        custom: Classes of detectors from outside; their code is not in the bundle.
        allow_custom: Import what the bundle names instead; only for a bundle that you trust.

    Raises:
        SlicecacheError: If a file is missing, unreadable or not the one that the card was written for.
        ConfigError: If a detector is from outside, and neither given nor allowed.
    """
    card = read_card(folder, DetectorCard)
    specs = [spec for one in card.members for spec in one.detector.whole]
    targets = [spec.target for spec in specs if isinstance(spec, CustomDetectorSpec)]
    allow_parts(targets, custom, allow_custom)
    tensors = read_tensors(folder, card)
    return DetectorBundle(card, tuple(_fitted(card, member, tensors) for member in card.members))


def _fitted(card: DetectorCard, member: DetectorMember, tensors: Mapping[str, Tensor]) -> Fitted:
    """Build a detector and give it its state."""
    try:
        detector = member.detector.build(member.seed)
        detector.start(Reference(card.dim, card.grid, card.n_slices, card.n_volumes))
        detector.load_state(tensors_below(tensors, f"{member.prefix}/state"))
    except (RuntimeError, MemoryError, OverflowError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise SlicecacheError(f"the detector {member.name} of the bundle cannot be built: {why}") from error
    _warn_of_other_code(member, detector)
    scale = None
    if member.per_height:
        mean, sd = (_tensor(tensors, f"{member.prefix}/height/{name}") for name in ("mean", "sd"))
        if not mean.shape == sd.shape == (HEIGHT_BINS,) or not bool((sd > 0).all()):
            raise SlicecacheError(
                f"the heights of the detector {member.name} must be {HEIGHT_BINS} means and positive "
                "deviations"
            )
        scale = HeightScale(mean, sd)
    calibration = ScoreCalibration(
        {rate: member.thresholds[name] for name, rate in RATES.items()},
        scale,
        member.calibration_slices,
        member.calibration_tokens,
    )
    return Fitted(member.name, detector, False, calibration, member.volume_limits)


def _tensor(tensors: Mapping[str, Tensor], name: str) -> torch.Tensor:
    if name not in tensors:
        raise SlicecacheError(f"the bundle's {WEIGHTS_FILE} lacks {name!r}; copy the bundle again")
    return tensors[name]


def _warn_of_other_code(member: DetectorMember, detector: Detector) -> None:
    """Say when a detector from outside was fitted by other code than what is here now."""
    if member.source is not None and detector.source != member.source:
        logging.getLogger("slicecache").warning(
            "the code of the detector %s is not what it was fitted with (its SHA-256 differs); its scores "
            "may be others",
            member.name,
        )


def is_detector_bundle(folder: Path) -> bool:
    """Whether a folder says that it is a bundle of detectors; what else it may be is not looked at."""
    try:
        return b'"slicecache-detectors"' in read_file(folder / CARD_FILE, CARD_BYTES)
    except (OSError, SlicecacheError):
        return False
