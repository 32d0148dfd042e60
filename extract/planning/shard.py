"""One share of the work, for one of several processes that know nothing of each other."""

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cache_schema.common.errors import ConfigError
from extract.planning.plan import ExtractionPlan, PlannedVolume

ARRAY_TASK, ARRAY_FIRST, ARRAY_COUNT, ARRAY_LAST = (
    f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "COUNT", "MAX")
)
MOST_SHARDS = 1_000_000
SHARD = re.compile(r"(\d{1,9}|auto)/(\d{1,9})|auto")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shares."""

    index: int
    """From 0."""
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """Read `I/N` (I from 0), `auto/N` (I from the array task's id) or `auto` (N from the array, too).

    Raises:
        ConfigError: If it is none of these, out of range, or the environment does not say.
    """
    match = SHARD.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--shard takes I/N with I from 0, auto/N or auto, e.g. 3/8, not {text!r}")
    index, count = match[1] or "auto", match[2]
    if index == "auto":
        index = environment.get(ARRAY_TASK, "")
        if not index.isdecimal():
            raise ConfigError(f"--shard {text} reads {ARRAY_TASK}, which is {index!r}: this is no array task")
    shard = Shard(int(index), int(count) if count else _whole_array(text, environment))
    if not 0 <= shard.index < shard.count <= MOST_SHARDS:
        raise ConfigError(f"--shard {shard}: there is no such share; they are counted from 0/{shard.count}")
    return shard


def _whole_array(text: str, environment: Mapping[str, str]) -> int:
    """Tasks of an array that runs whole, from 0.

    Raises:
        ConfigError: If it does not: part of an array that is submitted again cannot know how many there were.
    """
    first, count, last = (environment.get(name, "") for name in (ARRAY_FIRST, ARRAY_COUNT, ARRAY_LAST))
    if first != "0" or not count.isdecimal() or last != str(int(count) - 1):
        raise ConfigError(
            f"--shard {text} needs an array 0-(N-1), and this one of {count!r} tasks goes from {first!r} to "
            f"{last!r}: say --shard auto/N with the N of all shares"
        )
    return int(count)


def share_of_plan(plan: ExtractionPlan, shard: Shard) -> ExtractionPlan:
    """What of a plan one process does: its share of what can be embedded, and of what cannot be."""
    mine = (*share_of(plan.embeddable, shard), *plan.refused[shard.index :: shard.count])
    ordered = sorted(mine, key=lambda volume: volume.candidate.key)
    first = shard.index == 0
    return replace(
        plan,
        volumes=tuple(ordered),
        notes=plan.notes if first else (),
        withdrawn=plan.withdrawn if first else (),
    )


def share_of(volumes: Sequence[PlannedVolume], shard: Shard) -> tuple[PlannedVolume, ...]:
    """The volumes of one share, in their order."""
    shares = zip(volumes, division(volumes, shard.count), strict=True)
    return tuple(volume for volume, index in shares if index == shard.index)


def division(volumes: Sequence[PlannedVolume], count: int) -> tuple[int, ...]:
    """The share of every volume; every process comes to the same division.

    The largest volume goes first, each to the share that has fewest slices so far, so that the largest share
    is at most one volume above the smallest.
    """
    heap = [(0, index) for index in range(count)]
    shares = [0] * len(volumes)
    order = sorted(range(len(volumes)), key=lambda place: (-volumes[place].max_slices, place))
    for place in order:
        slices, shares[place] = heap[0]
        heapq.heapreplace(heap, (slices + volumes[place].max_slices, shares[place]))
    return tuple(shares)
