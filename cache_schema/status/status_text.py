"""A look at a store in a few lines. What workers and failures say is somebody else's text."""

from collections.abc import Iterable, Iterator, Sequence

from cache_schema.common.terminal.visible import label, visible
from cache_schema.common.text.counts import counted
from cache_schema.status.crew import HEARD_SECONDS, Crew, Member, wait_too_long, waiting_share
from cache_schema.status.left import ago, duration
from cache_schema.status.look import Status

SHOWN_WORKERS = 8
SHOWN_GONE = 5
SHOWN_SHARDS = 20
SHOWN_REASONS = 5
REASON = 120
"""Characters of a reason."""
ADVICE = "give each task more cores: they decode, and the device waits for them"


def status_text(status: Status) -> str:
    """The whole for people."""
    gone = () if status.finished else status.crew.gone  # who is missing is of no interest any more
    return "\n".join(
        [
            volumes_line(status),
            *_pace_lines(status),
            *_crew_lines(status.crew),
            *_few(map(_gone_line, gone), len(gone), SHOWN_GONE, "workers"),
            *_reason_lines(status),
        ]
    )


def one_line(status: Status) -> str:
    """The first of it, for logs."""
    live = len(status.crew.live)
    parts = [volumes_line(status).removeprefix(f"{visible(status.location)}: "), *_pace_lines(status)]
    if live:
        parts.append(f"{live} worker{'s' * (live > 1)}")
    return f"{status.when:%Y-%m-%d %H:%M:%S}Z {'; '.join(parts)}"


def volumes_line(status: Status) -> str:
    """How many volumes of how many."""
    counts = status.counts
    text = (
        f"{visible(status.location)}: {counts.committed} of {counted(counts.planned, 'volume')} committed, "
        f"{counts.failed} failed, {counts.left} left"
    )
    return f"{text}; sealed" if counts.sealed else text


def _pace_lines(status: Status) -> Iterator[str]:
    """How fast, and how long still."""
    if status.finished:
        return
    left, nobody = status.seconds_left, not status.crew.live
    if left is not None:
        unheard = "; volumes come, but no worker is heard of" if nobody else ""
        yield f"{status.slices_per_second:.1f} slices/s, about {duration(left)} left{unheard}"
    else:
        yield "nobody is at work" if nobody else "speed and time left are not known yet"


def _crew_lines(crew: Crew) -> Iterator[str]:
    """Who is at work, on what, and how much of the time devices wait."""
    live = crew.live
    if live:
        share = waiting_share(live)
        waiting = "" if share is None else f"; waiting for images {share:.0%} of the time"
        yield (
            f"{len(live)} worker{'s' * (len(live) > 1)} heard of in the last {duration(HEARD_SECONDS)}"
            f"{_shards(live)}: {_kinds(crew)}{waiting}"
        )
        if len(live) <= SHOWN_WORKERS:
            yield from (f"  {_live_line(member)}" for member in live)
        if wait_too_long(live):
            yield f"  advice: {ADVICE}"
        yield from _mixed_lines(crew)
    if crew.unreadable:
        which = f"{crew.unreadable} heartbeat{'s' * (crew.unreadable > 1)}"
        yield f"{which} cannot be read: damaged, or of another version of slicecache"


def _kinds(crew: Crew) -> str:
    """`3 on NVIDIA A100 (cuda, bfloat16), 1 on ...`."""
    kinds = crew.kinds().most_common()
    texts = [
        f"{n} on {label(name) or '?'} ({label(kind)}, {label(dtype)})" for (name, kind, dtype), n in kinds
    ]
    return ", ".join(_few(texts, len(texts), SHOWN_WORKERS, "kinds"))


def _mixed_lines(crew: Crew) -> Iterator[str]:
    """Kinds of processor and device, where there are several."""
    if len(crew.kinds()) > 1:
        yield f"  mixed: {len(crew.kinds())} kinds of device; equal images may differ in the last bits"
    processors = crew.processors().most_common()
    if len(processors) > 1:
        texts = [f"{n} on {label(name) or '?'}" for name, n in processors]
        yield f"  processors: {', '.join(_few(texts, len(texts), SHOWN_WORKERS, 'kinds'))}"


def _shards(live: Sequence[Member]) -> str:
    """` (shards 0-2, 5 of 8)`: which shards are at work; nothing where they are not of one division."""
    pairs = [member.heartbeat.shard.split("/") for member in live if member.heartbeat.shard]
    totals = {of for _, of in pairs}
    if len(totals) != 1:
        return ""
    numbers = {int(number) for number, _ in pairs}
    texts = ranges(numbers)
    shown = ", ".join(_few(texts, len(texts), SHOWN_SHARDS, ""))
    return f" (shard{'s' * (len(numbers) > 1)} {shown} of {totals.pop()})"


def ranges(numbers: Iterable[int]) -> list[str]:
    """Numbers in runs.

    Example:
        >>> ranges([7, 0, 1, 2])
        ['0-2', '7']
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def _live_line(member: Member) -> str:
    """One worker at work."""
    beat, share = member.heartbeat, waiting_share([member])
    waiting = "" if share is None else f", waiting {share:.0%}"
    return f"{_who(member)}: {_done(member)}, {beat.slices_per_second:.1f} slices/s{waiting}"


def _gone_line(member: Member) -> str:
    """One worker that is not at work any more, and was not done."""
    since = ago(member.seconds_ago)
    what = f"not heard of for {since}" if member.state == "lost" else f"{member.state} {since} ago"
    return f"{_who(member)} {what} (last: {_done(member)})"


def _done(member: Member) -> str:
    beat = member.heartbeat
    failed = f", {beat.failed} failed" if beat.failed else ""
    given = f"{beat.committed} of " if beat.volumes else ""  # who takes one after another was given none
    return f"{given}{counted(beat.volumes or beat.committed, 'volume')}{failed}"


def _who(member: Member) -> str:
    """`shard 3/8 on node07 (slurm 1234_3)`."""
    beat = member.heartbeat
    what = f"shard {beat.shard}" if beat.shard else "a worker"
    job = f" ({label(beat.job)})" if beat.job else ""
    return f"{what} on {label(beat.host)}{job}"


def _reason_lines(status: Status) -> Iterator[str]:
    """Why volumes failed."""
    texts = [f'{n} x "{label(reason, REASON)}"' for reason, n in status.reasons]
    if not texts:
        return
    looked = sum(n for _, n in status.reasons)
    some = f" (of {looked} looked at)" if looked < status.counts.failed else ""
    yield f"failed{some}: {', '.join(_few(texts, len(texts), SHOWN_REASONS, 'reasons'))}"


def _few(texts: Iterable[str], n: int, most: int, what: str) -> list[str]:
    """The first of them, and how many more there are."""
    shown = [text for text, _ in zip(texts, range(most), strict=False)]
    return [*shown, f"and {n - most} more {what}".rstrip()] if n > most else shown
