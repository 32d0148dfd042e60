"""How the training's volumes were acquired, and in what others differ: facts of the records, no tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field, model_validator

from aggregate.common.table_values import listed
from cache_schema.common.strict import Strict
from cache_schema.format.record import VolumeRecord

SLACK = 0.1
"""Of a value: what a range of the training may be left by."""
WIDER = 0.5
"""Of the range's own width likewise: an extreme of few is not the extreme of all."""

Texts = tuple[str, ...]
AXES = {"across": "RL", "front to back": "AP", "up": "SI"}
"""Directions of the head by the letters that an orientation has for them."""


def kinds_of(record: VolumeRecord) -> dict[str, str]:
    """Facts that are words."""
    return {"contrast": record.entities.contrast or "(none)", "foreground": record.foreground.kind}


def amounts_of(record: VolumeRecord) -> dict[str, float]:
    """Facts that are numbers. Intensities have no unit, so only where the middle one lies is one."""
    heights, quantiles = record.slices.scanned_mm, record.intensity_quantiles
    found = {f"voxel size {axis} (mm)": mm for axis, mm in _spacing(record).items()}
    found["slice distance (mm)"] = record.slices.spacing_mm
    found["slices"] = float(len(heights))
    found["coverage (mm)"] = max(heights) - min(heights) if heights else 0.0
    found[f"{record.foreground.kind} (ml)"] = record.foreground.millilitres
    ends = [quantiles.get(name) for name in ("q0.5", "q50", "q99.5")]
    low, middle, high = (value if value is not None else float("nan") for value in ends)
    if high > low:
        found["place of the median intensity"] = (middle - low) / (high - low)
    return found


def _spacing(record: VolumeRecord) -> dict[str, float]:
    """Voxel size along the head's directions, whatever order the file has."""
    pairs = list(zip(record.geometry.orientation, record.geometry.spacing_mm, strict=False))
    named = {axis: mm for axis, letters in AXES.items() for letter, mm in pairs if letter in letters}
    return {axis: mm for axis, mm in named.items() if axis != "up"}


class Range(Strict):
    """Of one fact, over the training's volumes."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ascending(self) -> "Range":
        if self.low > self.high:
            raise ValueError(f"a range goes from low to high, not from {self.low} to {self.high}")
        return self

    def holds(self, value: float) -> bool:
        """Whether a value is one that the training may as well have had."""
        slack = max(WIDER * (self.high - self.low), SLACK * max(abs(self.low), abs(self.high)))
        return self.low - slack <= value <= self.high + slack

    def __str__(self) -> str:
        return amount(self.low) if self.low == self.high else f"{amount(self.low)} to {amount(self.high)}"


class Acquired(Strict):
    """What the training's volumes were like."""

    kinds: dict[str, Texts] = Field(max_length=16)
    """Fact -> the words that occurred."""
    amounts: dict[str, Range] = Field(max_length=64)

    def unlike(self, record: VolumeRecord) -> dict[str, str]:
        """Facts in which a volume differs from all of training, with what it has."""
        kinds, amounts = kinds_of(record), amounts_of(record)
        found = {f: v for f, v in kinds.items() if f in self.kinds and v not in self.kinds[f]}
        for fact, value in amounts.items():
            if fact in self.amounts and not self.amounts[fact].holds(value):
                found[fact] = amount(value)
        return found

    def trained(self, fact: str) -> str:
        """What training had of a fact."""
        return " or ".join(self.kinds[fact]) if fact in self.kinds else str(self.amounts[fact])


def acquired_of(records: Iterable[VolumeRecord]) -> Acquired:
    """Gather the facts of the training's volumes."""
    kinds: dict[str, set[str]] = {}
    amounts: dict[str, list[float]] = {}
    for record in records:
        for fact, word in kinds_of(record).items():
            kinds.setdefault(fact, set()).add(word)
        for fact, value in amounts_of(record).items():
            amounts.setdefault(fact, []).append(value)
    return Acquired(
        kinds={fact: tuple(sorted(words)) for fact, words in kinds.items()},
        amounts={fact: Range(low=min(values), high=max(values)) for fact, values in amounts.items()},
    )


def amount(value: float) -> str:
    """A number as a person reads it: three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact in which some volumes differ from all of training."""

    fact: str
    n: int
    found: str
    trained: str

    def sentence(self, of: int) -> str:
        """`8 of 8 volumes have slice distance (mm) 1; training had 2`."""
        return f"{self.n} of {of} volumes have {self.fact} {self.found}; training had {self.trained}"


def differences(acquired: Acquired, unlike: Sequence[dict[str, str]]) -> list[Difference]:
    """Facts in which volumes differ, the commonest first.

    Args:
        acquired: Of the training.
        unlike: Of every volume.
    """
    values: dict[str, list[str]] = {}
    for facts in unlike:
        for fact, value in facts.items():
            values.setdefault(fact, []).append(value)
    ordered = sorted(values.items(), key=lambda item: -len(item[1]))
    return [
        Difference(fact, len(own), listed(list(dict.fromkeys(own)), 3), acquired.trained(fact))
        for fact, own in ordered
    ]
