"""The local engine: decode ahead, embed here, write from a thread of its own.

Whatever is wrong with one volume becomes a `Failure` and the others go on. An interruption leaves a clean
store: a volume is there when its record is, and records are written last.
"""

import queue
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Self

from cache_schema.common.errors import ParticipantWithdrawn, VolumeError
from cache_schema.common.terminal.progress import VolumeCounter
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.store.writer import StoreWriter
from cache_schema.workers.heart import Heart, WorkDone
from extract.engines.decode import decode_ahead, wanted_by
from extract.engines.device import worker_of
from extract.engines.embed import Embedder
from extract.engines.in_hand import CommitParts
from extract.engines.pending import failure_of, note_failure
from extract.engines.waiting import Stopwatch, with_waiting
from extract.planning.plan import PlannedVolume
from extract.slices.prepare import PreparedVolume
from extract.slices.preprocessing import Preprocessing

QUEUED = 4
"""Finished volumes that may wait for the writer."""


@dataclass(slots=True)
class EngineTally:
    """What came of the volumes."""

    embedded: int = 0
    slices: int = 0
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was changed on the way."""
    withdrawn: list[VolumeKey] = field(default_factory=list)
    """Volumes of participants who were withdrawn from the store since it was planned."""
    time: Stopwatch = field(default_factory=Stopwatch)
    """Of the device."""
    workers: int = 0
    """Decoding processes."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of the embedded volumes, by stage."""
    repeated: int = 0
    """Slices that were equal to another of their volume, and not embedded again."""

    def add(self, other: "EngineTally") -> None:
        """Count what another process has done, too."""
        self.embedded += other.embedded
        self.slices += other.slices
        self.failures += other.failures
        self.notes += [note for note in other.notes if note not in self.notes]
        self.withdrawn += other.withdrawn
        self.workers += other.workers
        self.repeated += other.repeated
        for stage, seconds in other.stages.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        self.time.add(other.time)

    def at_rest(self) -> "EngineTally":
        """What travels to another process: of the time, how much it was."""
        return replace(self, time=self.time.at_rest())

    def so_far(self) -> WorkDone:
        """What a heartbeat says of it."""
        return WorkDone(
            committed=self.embedded,
            failed=len(self.failures),
            slices=self.slices,
            busy_seconds=self.time.busy_seconds,
            waiting_seconds=self.time.waiting_seconds,
        )


@dataclass(frozen=True, slots=True)
class StoreWork:
    """What is to be done for one store of a run."""

    volumes: Sequence[PlannedVolume]
    preprocessing: Preprocessing
    embedder: Embedder
    writer: StoreWriter
    tally: EngineTally
    """Counts, also when the machine fails on the way."""
    replacing: frozenset[VolumeKey] = frozenset()
    """Volumes whose record goes before their new data is written."""


def run_local(works: Sequence[StoreWork], workers: int, progress: VolumeCounter, shard: str = "") -> None:
    """Embed the volumes and commit them; one that several stores lack is decoded once.

    Args:
        works: One of each store.
        workers: Decoding processes; 0 decodes in this one.
        progress: Is told of every volume of every store.
        shard: `I/N`, for heartbeats.
    """
    watch = works[0].tally.time
    for work in works:
        work.tally.workers, work.tally.time = workers, watch
    hearts = [_heart_of(work, shard) for work in works]
    steps = [work.preprocessing for work in works]
    begin = 1 if works[0].embedder.device.type == "cpu" else None
    decoding = partial(decode_ahead, wanted_by([work.volumes for work in works]), steps, workers, begin)
    with ExitStack() as ending:
        for heart in hearts:
            ending.enter_context(heart)
        lines = [(work.embedder, ending.enter_context(Committer(work, progress))) for work in works]
        for planned, made in watch.over(decoding, partial(_idle, [work.embedder for work in works])):
            for place, prepared in made.items():
                _embed(*lines[place], planned, prepared, watch.last)
        for embedder, committer in lines:
            for finished in embedder.flush():
                committer.commit(finished)
        watch.stop()
    for work, heart in zip(works, hearts, strict=True):
        work.tally.notes += heart.notes
        work.tally.repeated += work.embedder.repeated


def _heart_of(work: StoreWork, shard: str) -> Heart:
    """What tells who looks at the store of this process."""
    compute = work.writer.header.numerics.compute_dtype
    worker = worker_of(work.embedder.device, compute, len(work.volumes), shard)
    return Heart(work.writer.location, worker, work.tally.so_far)


def _embed(
    embedder: Embedder,
    committer: "Committer",
    planned: PlannedVolume,
    prepared: PreparedVolume | str,
    waited: float,
) -> None:
    """Embed a volume that was waited for, for one store, and hand over what that finishes."""
    if isinstance(prepared, str):
        committer.fail(failure_of(planned.candidate, prepared))
        return
    try:
        for finished in embedder.add(with_waiting(prepared, waited)):
            committer.commit(finished)
    except VolumeError as error:
        committer.fail(failure_of(planned.candidate, str(error)))


def _idle(embedders: Sequence[Embedder], waited: float) -> float:
    """Of the seconds just waited for a volume, those in which the device had nothing to do for any store."""
    return min(embedder.idle(waited) for embedder in embedders)


class Committer:
    """Threads that write while the next batch computes: one, or a few where each waits for a server.

    They alone touch store, tally and progress.
    """

    def __init__(self, work: StoreWork, progress: VolumeCounter) -> None:
        """Nothing runs before `with`."""
        self._writer, self._tally, self._replacing = work.writer, work.tally, work.replacing
        self._candidates = {planned.candidate.key: planned.candidate for planned in work.volumes}
        self._progress = progress
        self._queue: queue.Queue[CommitParts | Failure | None] = queue.Queue(QUEUED)
        self._error: BaseException | None = None
        self._telling = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"slicecache-writer-{number}", daemon=True)
            for number in range(work.writer.at_once)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        if kind is None:
            self._raise()

    def commit(self, finished: CommitParts) -> None:
        """Hand over a finished volume; waits when the writer is behind."""
        self._raise()
        self._queue.put(finished)

    def fail(self, failure: Failure) -> None:
        """Hand over a failure."""
        self._raise()
        self._queue.put(failure)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        """Until `None`; after an error it only empties the queue, so that nobody waits for it."""
        while (item := self._queue.get()) is not None:
            if self._error is not None:
                continue
            try:
                self._write(item)
            except BaseException as error:  # handed to the main thread, which raises it
                self._error = error

    def _write(self, item: CommitParts | Failure) -> None:
        if isinstance(item, Failure):
            self._failed(item)
            return
        key = item.draft.key
        try:
            if key in self._replacing:
                self._writer.remove_record(key)
            record = self._writer.commit(item.draft, item.arrays, item.preview())
        except VolumeError as error:
            self._failed(failure_of(self._candidates[key], str(error)))
            return
        except ParticipantWithdrawn:
            self._tally.withdrawn.append(key)
            return
        with self._telling:
            self._tally.embedded += 1
            self._tally.slices += len(item.draft.slices.index)
            for stage, seconds in record.seconds.items():
                self._tally.stages[stage] = self._tally.stages.get(stage, 0.0) + seconds
            self._progress.done(len(item.draft.slices.index))

    def _failed(self, failure: Failure) -> None:
        try:
            note_failure(self._writer, failure)
        except ParticipantWithdrawn:
            self._tally.withdrawn.append(failure.key)
            return
        with self._telling:
            self._tally.failures.append(failure)
            self._progress.failed()
