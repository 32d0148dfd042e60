"""Fitted detectors that can be applied elsewhere, as JSON and safetensors, never a pickle.

`bundle.json` says what the members are, which embeddings they read, what the reference group was like and
who was in it; `members.safetensors` holds `<member>/state/<tensor>` and `<member>/height/{mean,sd}`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aggregate.anomaly.detectors.base import Reference
from aggregate.anomaly.detectors.spec import DetectorSpec
from aggregate.anomaly.fitting.normalise import Calibration, HeightScale
from aggregate.anomaly.reference.group import Part
from aggregate.anomaly.reference.likeness import Profile
from aggregate.anomaly.scoring.fitted import RATES, Fitted
from aggregate.predict.bundle import CARD_FILE, WEIGHTS_FILE
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import Strict, refusal
from cache_schema.format.header import Fingerprint, Numerics


class DetectorMember(Strict):
    """One fitted detector and its thresholds."""

    name: str = Field(pattern=r"^[^/]+$")
    """In tables; with the seed unique in the bundle."""
    seed: int
    detector: DetectorSpec
    thresholds: dict[str, float]
    """On token scores, by the name of the false positive rate."""
    volume_limits: dict[str, float | None]
    per_height: bool
    calibration_slices: int
    calibration_tokens: int

    @property
    def prefix(self) -> str:
        """Of its tensors."""
        return f"{self.name}-s{self.seed}"


class DetectorCard(Strict):
    """All that a bundle of detectors says in words and numbers."""

    format: Literal["slicecache-detectors"] = "slicecache-detectors"
    version: Literal[1] = 1
    fingerprint: Fingerprint
    numerics: Numerics
    dim: PositiveInt
    grid: tuple[PositiveInt, PositiveInt]
    n_slices: PositiveInt
    """That were fitted on."""
    n_volumes: PositiveInt
    reference: str
    """Who the normals were, in words."""
    profile: Profile
    participants: dict[Part, tuple[str, ...]]
    """Of the reference group, by part."""
    members: tuple[DetectorMember, ...] = Field(min_length=1)
    training: dict[str, Any] = Field(default_factory=dict)
    """Summary: the `detect` part, measured metrics and the like."""
    weights_sha256: str = ""
    """Of `members.safetensors`; filled in when the bundle is saved."""


@dataclass(frozen=True, slots=True)
class DetectorBundle:
    """The card and the fitted detectors, in the card's order."""

    card: DetectorCard
    fitted: tuple[Fitted, ...]


def member_of(fitted: Fitted) -> DetectorMember:
    """Describe a fitted detector."""
    spec = fitted.detector.spec
    return DetectorMember(
        name=fitted.name,
        seed=fitted.seed,
        # A path of this machine means nothing elsewhere.
        detector=spec.model_copy(update={"store": None}),
        thresholds=fitted.thresholds,
        volume_limits=dict(fitted.volume_limits),
        per_height=fitted.calibration.scale is not None,
        calibration_slices=fitted.calibration.n_slices,
        calibration_tokens=fitted.calibration.n_tokens,
    )


def save_detectors(folder: Path, card: DetectorCard, fitted: Sequence[Fitted]) -> None:
    """Write both files; the card comes last, so that a folder without one is no bundle."""
    tensors: dict[str, Tensor] = {}
    for member, one in zip(card.members, fitted, strict=True):
        state = one.detector.state()
        tensors |= {f"{member.prefix}/state/{name}": value.contiguous() for name, value in state.items()}
        if one.calibration.scale is not None:
            scale = one.calibration.scale
            tensors |= {f"{member.prefix}/height/mean": scale.mean, f"{member.prefix}/height/sd": scale.sd}
    weights = save(tensors, metadata={"format": card.format})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD_FILE).unlink(missing_ok=True)
    signed = card.model_copy(update={"weights_sha256": sha256(weights).hexdigest()})
    _replace(folder / WEIGHTS_FILE, weights)
    _replace(folder / CARD_FILE, signed.model_dump_json(indent=1).encode())


def load_detectors(folder: Path) -> DetectorBundle:
    """Read a bundle and check that it is whole.

    Raises:
        SlicecacheError: If a file is missing, unreadable or not the one that the card was written for.
    """
    card = _read_card(folder)
    try:
        weights = (folder / WEIGHTS_FILE).read_bytes()
        if sha256(weights).hexdigest() != card.weights_sha256:
            raise SlicecacheError(
                f"{folder / WEIGHTS_FILE} is not the file that {CARD_FILE} was written for (its SHA-256 "
                "differs); copy the bundle again"
            )
        tensors = load(weights)
    except (OSError, SafetensorError) as error:
        raise SlicecacheError(f"the weights of the bundle {folder} cannot be read: {error}") from error
    return DetectorBundle(card, tuple(_fitted(card, member, tensors) for member in card.members))


def _read_card(folder: Path) -> DetectorCard:
    """Read and validate `bundle.json`."""
    path = folder / CARD_FILE
    try:
        return DetectorCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SlicecacheError(
            f"{folder} is not a bundle: {CARD_FILE} cannot be read ({error.strerror})"
        ) from error
    except ValidationError as error:
        raise SlicecacheError(f"{path} is not a bundle of this version: {refusal(error, 'it')}") from error


def _fitted(card: DetectorCard, member: DetectorMember, tensors: Mapping[str, Tensor]) -> Fitted:
    """Build a detector and give it its state."""
    detector = member.detector.build(member.seed)
    detector.start(Reference(card.dim, card.grid, card.n_slices, card.n_volumes))
    start = f"{member.prefix}/state/"
    detector.load_state(
        {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    )
    scale = None
    if member.per_height:
        scale = HeightScale(*(_tensor(tensors, f"{member.prefix}/height/{name}") for name in ("mean", "sd")))
    calibration = Calibration(
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


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that nobody sees half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def is_detector_bundle(folder: Path) -> bool:
    """Whether a folder says that it is a bundle of detectors; what else it may be is not looked at."""
    try:
        return b'"slicecache-detectors"' in (folder / CARD_FILE).read_bytes()
    except OSError:
        return False
