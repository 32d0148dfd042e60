"""Hours, bytes, files and memory of an extraction, from its plan and a rate."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from cache_schema.files.disk.room import in_units
from cache_schema.format.header import ArraySpec
from extract.backbones.shape import Outline
from extract.cluster.estimate import memory_bytes
from extract.effort.rate import Rate
from extract.engines.decode import MOST_WORKERS
from extract.planning.plan import PlannedVolume
from extract.planning.room import needed

START_SECONDS = 2.0
"""Until the first volume is decoded and the backbone is warm."""
METADATA_FILES = 24
"""Of an empty store: header, table, metadata of arrays."""


UNITS = (("hours", 1, 1), ("minutes", 60, 0), ("s", 3600, 0))


@dataclass(frozen=True, slots=True)
class StoreNeeds:
    """What one store of a run is made of."""

    volumes: Sequence[PlannedVolume]
    """That are to be embedded."""
    arrays: tuple[ArraySpec, ...] | None
    """None for a backbone whose sizes only a download would tell."""
    sizes: Outline | None
    rate: Rate


@dataclass(frozen=True, slots=True)
class Needs:
    """What an extraction takes; an estimate but for the upper bounds."""

    hours: float
    """Of one process on this machine, from the open store to the last commit."""
    hours_range: tuple[float, float]
    """Between which it will be."""
    bytes: int | None
    """At most, in whole chunks; of all stores."""
    inodes: int | None
    """Files and folders, at most."""
    memory_bytes: int
    cores: int
    gpu: bool
    slices: int
    """That will be embedded, for all stores."""
    slices_per_s: float
    """Of the first store."""
    decode_core_hours: float
    measured: bool
    rate: str
    """Where it comes from."""

    def as_json(self) -> dict[str, Any]:
        """As JSON data, for schedulers."""
        return {**asdict(self), "estimate": True}

    def sentence(self) -> str:
        """One line for a person."""
        size = "an unknown size" if self.bytes is None else f"at most {in_units(self.bytes)}"
        files = "" if self.inodes is None else f" in {self.inodes} files"
        told = told_range(*self.hours_range)
        return (
            f"estimate: {told} ({self.slices_per_s:.3g} slices/s, {self.rate}), {size}{files}, "
            f"{in_units(self.memory_bytes)} of memory"
        )


def needs_of(stores: Sequence[StoreNeeds], cores: int) -> Needs:
    """Put together what all stores of a run take; a volume is decoded once for all of them.

    Args:
        stores: At least one.
        cores: That this process may use.
    """
    first = stores[0]
    slices = [round(sum(volume.max_slices for volume in each.volumes) * each.rate.kept) for each in stores]
    embed = sum(count / each.rate.slices_per_s for count, each in zip(slices, stores, strict=True))
    voxels = [prod(volume.shape or ()) for volume in first.volumes]
    decode = sum(voxels) * first.rate.decode_s + len(voxels) * first.rate.volume_s
    beside = max(1, min(MOST_WORKERS, cores - 1))
    seconds = max(embed, decode / beside) if first.rate.gpu else embed + decode / cores
    start = START_SECONDS + sum(each.rate.trial_s for each in stores)
    hours = (seconds + start * bool(voxels)) / 3600
    sizes = [room(each.arrays, each.volumes) for each in stores]
    whole = [size for size in sizes if size is not None]
    known = len(whole) == len(sizes)
    return Needs(
        hours=hours,
        hours_range=first.rate.around(hours),
        bytes=sum(size[0] for size in whole) if known else None,
        inodes=sum(size[1] + METADATA_FILES for size in whole) if known else None,
        memory_bytes=memory_bytes(cores, max(voxels, default=0), [each.sizes for each in stores]),
        cores=cores,
        gpu=first.rate.gpu,
        slices=sum(slices),
        slices_per_s=first.rate.slices_per_s,
        decode_core_hours=decode / 3600,
        measured=first.rate.measured,
        rate=first.rate.said,
    )


def room(arrays: tuple[ArraySpec, ...] | None, volumes: Sequence[PlannedVolume]) -> tuple[int, int] | None:
    """Bytes and files of one store at most."""
    longest = max((volume.max_slices for volume in volumes), default=1)
    return None if arrays is None else needed(arrays, max(1, longest), volumes)


def told_range(least: float, most: float) -> str:
    """`8 to 13 minutes`; one number where both are told alike."""
    unit, of_hour, digits = next(
        (name, scale, digits) for name, scale, digits in UNITS if least * scale >= 1 or scale == 3600
    )
    low, high = (f"{hours * of_hour:.{digits}f}" for hours in (least, most))
    return f"about {high} {unit}" if low == high else f"{low} to {high} {unit}"
