"""What an extraction did, store by store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cache_schema.common.pipeline_file import MAIN
from cache_schema.common.text.counts import counted
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.workers.share import share_of
from extract.failures_table import FAILURE_COLUMNS
from extract.planning.plan import withdrawn_json
from extract.planning.shard import Shard


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """What an extraction did."""

    store: str
    embedded: int
    """Volumes embedded and committed now."""
    skipped: int
    """Volumes that were committed before and whose source is unchanged."""
    failed: int
    slices: int
    """Slices embedded now."""
    seconds: float
    """From the open store to the last commit; planning and loading the backbone are not in it."""
    content_digest: str
    """Over the committed volumes; empty for one share."""
    failures: tuple[Failure, ...]
    """With paths as the user gave them."""
    notes: tuple[str, ...] = ()
    """What the input holds beside its volumes, and what was changed on the way, e.g. a halved batch."""
    failures_table: str = ""
    """Path of `failures.tsv`."""
    waiting_seconds: float = 0.0
    """In which the device had nothing to do, because the next image was not decoded."""
    busy_seconds: float = 0.0
    """All other time since the first image."""
    workers: int = 0
    """Decoding processes."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the volumes embedded now, by stage, as their records have them."""
    repeated: int = 0
    """Of the slices, those that were equal to another of their volume and not embedded again."""
    withdrawn: tuple[VolumeKey, ...] = ()
    """Volumes of the input whose participant was withdrawn from the store: left out, and no failure."""
    shard: Shard | None = None
    """The share that this was."""
    volumes: tuple[VolumeKey, ...] = ()
    """Of the input, whatever became of them."""
    name: str = MAIN
    """What the store is called."""
    beside: tuple["Outcome", ...] = ()
    """Of the further stores that were made from the same decoding."""

    def __repr__(self) -> str:
        counts = f"{self.embedded} embedded, {self.skipped} skipped, {self.failed} failed"
        told = f"{self.store!r}: {counts}, {counted(self.slices, 'slice')} in {self.seconds:.1f} s"
        return " ".join([f"<Outcome {told}>", *map(repr, self.beside)])

    @property
    def every(self) -> tuple["Outcome", ...]:
        """This one, and those of the further stores."""
        return self, *self.beside

    @property
    def complete(self) -> bool:
        """Whether no volume failed, for none of the stores."""
        return not any(each.failed for each in self.every)

    def as_json(self) -> dict[str, Any]:
        """The outcome as one JSON object; that of the first of several stores has all of them as `stores`."""
        if not self.beside:
            return self._own_json()
        return self._own_json() | {"stores": {each.name: each._own_json() for each in self.every}}

    def _own_json(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "shard": None if self.shard is None else str(self.shard),
            "embedded": self.embedded,
            "skipped": self.skipped,
            "failed": self.failed,
            "withdrawn": withdrawn_json(self.withdrawn),
            "slices": self.slices,
            "seconds": round(self.seconds, 3),
            "waiting_seconds": round(self.waiting_seconds, 3),
            "waiting_share": share_of(self.waiting_seconds, self.busy_seconds),
            "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in self.stages.items()},
            "repeated_slices": self.repeated,
            "content_digest": self.content_digest,
            "failures": [failure.model_dump(include=set(FAILURE_COLUMNS)) for failure in self.failures],
            "failures_table": self.failures_table,
            "notes": list(self.notes),
        }
