"""Who is at work on a store, and who should be: what their heartbeats say, at a moment."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cache_schema.format.heartbeat import Heartbeat
from cache_schema.workers.share import share_of, waits_too_long

HEARD_SECONDS = 180.0
"""Who was not heard of for so long is lost: twelve beats, three behind a URL."""

State = Literal["running", "lost", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Member:
    """One worker, as far as it was heard of."""

    heartbeat: Heartbeat
    seconds_ago: float
    """Since it was heard of; not below 0, should its clock go ahead of ours."""

    @property
    def state(self) -> State:
        """What it said last, and `lost` if it said that it was running too long ago."""
        silent = self.heartbeat.state == "running" and self.seconds_ago > HEARD_SECONDS
        return "lost" if silent else self.heartbeat.state

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        said = self.heartbeat.model_dump(mode="json")
        share = waiting_share([self])
        return said | {
            "state": self.state,
            "seconds_ago": round(self.seconds_ago, 1),
            "waiting_share": None if share is None else round(share, 4),
        }


@dataclass(frozen=True, slots=True)
class Crew:
    """All workers that are of interest; who was followed by another on the same shard is not."""

    live: tuple[Member, ...]
    gone: tuple[Member, ...]
    """Lost, stopped or failed, and nobody took their place."""
    done: tuple[Member, ...]
    unreadable: int = 0
    """Heartbeats that are none, or of a newer version."""

    def slices_per_second(self) -> float:
        """Of all that are at work; who has committed nothing in the last minutes counts with its mean."""
        return sum(map(_rate, self.live))

    def kinds(self) -> Counter[tuple[str, str, str]]:
        """How many are at work on each (device name, device kind, compute dtype)."""
        return Counter(
            (beat.device_name or beat.processor, beat.device, beat.compute_dtype)
            for beat in (member.heartbeat for member in self.live)
        )

    def processors(self) -> Counter[str]:
        """How many are at work on each model of CPU."""
        return Counter(member.heartbeat.processor for member in self.live)


def crew_of(found: Iterable[tuple[str, Heartbeat | None]], now: datetime) -> Crew:
    """Sort workers out.

    Args:
        found: Their heartbeats by name; None where one cannot be read.
        now: The moment.
    """
    beats = [beat for _, beat in found]
    members = [
        Member(beat, max(0.0, (now - beat.beat).total_seconds())) for beat in beats if beat is not None
    ]
    members.sort(key=lambda member: (_number(member.heartbeat.shard), member.heartbeat.started))
    gone = [member for member in members if member.state in ("lost", "stopped", "failed")]
    return Crew(
        live=tuple(member for member in members if member.state == "running"),
        gone=tuple(member for member in gone if not _followed(member, members)),
        done=tuple(member for member in members if member.state == "done"),
        unreadable=len(beats) - len(members),
    )


def waiting_share(members: Sequence[Member]) -> float | None:
    """Which share of their time the devices waited for images; None before any time has passed."""
    return share_of(*_seconds(members))


def wait_too_long(members: Sequence[Member]) -> bool:
    """Whether the devices of these workers would do more with more cores."""
    return waits_too_long(*_seconds(members))


def _seconds(members: Sequence[Member]) -> tuple[float, float]:
    """In which the devices waited, and in which they did not."""
    beats = [member.heartbeat for member in members]
    return sum(beat.waiting_seconds for beat in beats), sum(beat.busy_seconds for beat in beats)


def _followed(member: Member, members: Iterable[Member]) -> bool:
    """Whether somebody began later on the same shard; without shards, on the same host."""
    mine = member.heartbeat
    return any(
        other.shard == mine.shard and other.started > mine.started and (mine.shard or other.host == mine.host)
        for other in (another.heartbeat for another in members)
    )


def _rate(member: Member) -> float:
    """Slices per second of one worker."""
    beat = member.heartbeat
    seconds = (beat.beat - beat.started).total_seconds()
    mean = beat.slices / seconds if seconds > 0 else 0.0
    return beat.slices_per_second or mean


def _number(shard: str) -> tuple[int, int]:
    """A shard's place among shards."""
    number, _, of = shard.partition("/")
    return (int(of), int(number)) if shard else (0, 0)
