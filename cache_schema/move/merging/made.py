"""What a merge or a subset made, as data and in words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cache_schema.common.terminal.progress import Progress
from cache_schema.common.text.counts import counted
from cache_schema.format.header import Header, Numerics, told_apart
from cache_schema.move.merging.agreement import by_weight
from cache_schema.move.merging.content import Content
from cache_schema.move.merging.writing import write_content
from cache_schema.store.reader import StoreReader

SHOWN = 3
"""Names in a sentence; `--json` has all."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a merge or a subset made."""

    location: str
    n_volumes: int
    n_participants: int
    content_digest: str
    sealed: bool
    inputs: dict[str, int]
    """Committed volumes of each input."""
    twice: int
    """Volumes that several inputs had, with equal digests."""
    failed: int
    pending: int
    """Planned volumes that are neither committed nor failed."""
    left_out: tuple[str, ...]
    """Volumes of participants who were withdrawn from another of the inputs."""
    numerics: dict[str, int]
    """Volumes by arithmetic, the commonest first, which is the header's."""
    lookalikes: tuple[tuple[str, str], ...]
    """Volumes of two participants that come from one file or hold the same numbers."""

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        return asdict(self)

    def in_words(self) -> str:
        """The whole for people."""
        lines = [
            f"{self.location}: {counted(self.n_volumes, 'volume')} of "
            f"{counted(self.n_participants, 'participant')} from {counted(len(self.inputs), 'store')}, "
            f"content digest {self.content_digest}"
        ]
        told = [
            (self.twice, "were in several stores with equal digests and are there once"),
            (self.failed, "failed"),
            (self.pending, "were planned and are not done, so it is not sealed"),
        ]
        lines += ["; ".join(f"{n} {what}" for n, what in told if n)] * any(n for n, _ in told)
        if self.left_out:
            lines.append(
                f"left out, since they were withdrawn from another of the stores: {listed(self.left_out)}"
            )
        if len(self.numerics) > 1:
            kinds = "; ".join(f"{counted(n, 'volume')} with {kind}" for kind, n in self.numerics.items())
            lines.append(f"WARNING: numerics are mixed: {kinds}; whoever trains on it is warned")
        if self.lookalikes:
            pairs = listed([f"{one} and {other}" for one, other in self.lookalikes])
            lines.append(
                f"note: one image under two participants ({pairs}): is that one person at two centres?"
            )
        return "\n".join(lines)


def write_store(
    stores: Sequence[StoreReader],
    content: Content,
    counts: Counter[Numerics],
    header: Header,
    out: str,
    progress: Progress | None = None,
) -> Made:
    """Write what was gathered, and say what it is.

    Args:
        stores: Where it comes from.
        content: What was gathered from them.
        counts: Its volumes by arithmetic.
        header: Of the new store.
        out: The folder to make.
        progress: Called with the volumes written and their number.
    """
    written = write_content(stores, content, header, out, progress)
    return Made(
        location=out,
        n_volumes=len(content.volumes),
        n_participants=len({key.participant_id for key in content.volumes}),
        content_digest=written.content_digest,
        sealed=not content.pending,
        inputs={store.location: len(store.entries) for store in stores},
        twice=len(content.twice),
        failed=len(content.failures),
        pending=len(content.pending),
        left_out=tuple(map(str, sorted(content.left_out))),
        numerics={told: counts[numerics] for numerics, told in told_apart(by_weight(counts)).items()},
        lookalikes=tuple((str(one), str(other)) for one, other in written.lookalikes),
    )


def listed(names: Sequence[str]) -> str:
    """`a, b, c and 4 more`."""
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
