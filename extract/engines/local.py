"""The local engine: decode ahead, embed here, write from a thread of its own.

Whatever is wrong with one volume becomes a `Failure` and the others go on. An interruption leaves a clean
store: a volume is there when its record is, and records are written last.
"""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Self

from cache_schema.common.errors import ParticipantWithdrawn, StoreError, VolumeError
from cache_schema.common.terminal.progress import VolumeCounter
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.store.writer import StoreWriter
from cache_schema.workers.heart import Heart, WorkDone
from extract.engines.decode import decode_ahead
from extract.engines.device import worker_of
from extract.engines.embed import CommitParts, Embedder
from extract.engines.waiting import Stopwatch
from extract.planning.plan import PlannedVolume
from extract.slices.preprocessing import Preprocessing
from extract.sources.candidate import Candidate

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

    def so_far(self) -> WorkDone:
        """What a heartbeat says of it."""
        return WorkDone(
            committed=self.embedded,
            failed=len(self.failures),
            slices=self.slices,
            busy_seconds=self.time.busy_seconds,
            waiting_seconds=self.time.waiting_seconds,
        )


def run_local(
    volumes: Sequence[PlannedVolume],
    preprocessing: Preprocessing,
    embedder: Embedder,
    writer: StoreWriter,
    workers: int,
    progress: VolumeCounter,
    tally: EngineTally,
    replacing: frozenset[VolumeKey] = frozenset(),
    shard: str = "",
) -> None:
    """Embed the volumes and commit them.

    Args:
        volumes: What is to be done, each once.
        preprocessing: How a volume becomes slices.
        embedder: Holds the backbone.
        writer: The open store.
        workers: Decoding processes; 0 decodes in this one.
        progress: Is told of every volume.
        tally: Counts them, also when the machine fails on the way.
        replacing: Volumes whose record goes before their new data is written.
        shard: `I/N`, for heartbeats.
    """
    tally.workers = workers
    names = {planned.candidate.key: planned.candidate for planned in volumes}
    worker = worker_of(embedder.device, writer.header.numerics.compute_dtype, len(volumes), shard)
    heart = Heart(writer.location, worker, tally.so_far)
    with heart, Committer(writer, tally, names, progress, replacing) as committer:
        decoding = partial(decode_ahead, volumes, preprocessing, workers)
        for planned, prepared in tally.time.over(decoding, embedder.idle):
            candidate = planned.candidate
            if isinstance(prepared, str):
                committer.fail(failure_of(candidate, prepared))
                continue
            try:
                for finished in embedder.add(prepared):
                    committer.commit(finished)
            except VolumeError as error:
                committer.fail(failure_of(candidate, str(error)))
        for finished in embedder.flush():
            committer.commit(finished)
        tally.time.stop()
    tally.notes += heart.notes


def failure_of(candidate: Candidate, reason: str) -> Failure:
    """The row that says why a volume is not in the store."""
    key = candidate.key
    return Failure(
        participant_id=key.participant_id,
        session_id=key.session_id,
        volume_id=key.volume_id,
        path=candidate.source,
        reason=reason,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def note_failure(writer: StoreWriter, failure: Failure) -> None:
    """Write down why a volume failed, unless the store says just that: a resume takes no seal off for it."""
    try:
        known = writer.failure(failure.key)
    except StoreError:
        known = None
    if known is None or (known.path, known.reason) != (failure.path, failure.reason):
        writer.fail(failure)


class Committer:
    """Threads that write while the next batch computes: one, or a few where each waits for a server.

    They alone touch store, tally and progress.
    """

    def __init__(
        self,
        writer: StoreWriter,
        tally: EngineTally,
        candidates: dict[VolumeKey, Candidate],
        progress: VolumeCounter,
        replacing: frozenset[VolumeKey],
    ) -> None:
        """Nothing runs before `with`."""
        self._writer, self._tally, self._candidates = writer, tally, candidates
        self._progress, self._replacing = progress, replacing
        self._queue: queue.Queue[CommitParts | Failure | None] = queue.Queue(QUEUED)
        self._error: BaseException | None = None
        self._telling = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"slicecache-writer-{number}", daemon=True)
            for number in range(writer.at_once)
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
        draft, arrays, preview = item
        key = draft.key
        try:
            if key in self._replacing:
                self._writer.remove_record(key)
            self._writer.commit(draft, arrays, preview)
        except VolumeError as error:
            self._failed(failure_of(self._candidates[key], str(error)))
            return
        except ParticipantWithdrawn:
            self._tally.withdrawn.append(key)
            return
        with self._telling:
            self._tally.embedded += 1
            self._tally.slices += len(draft.slices.index)
            self._progress.done(len(draft.slices.index))

    def _failed(self, failure: Failure) -> None:
        try:
            note_failure(self._writer, failure)
        except ParticipantWithdrawn:
            self._tally.withdrawn.append(failure.key)
            return
        with self._telling:
            self._tally.failures.append(failure)
            self._progress.failed()
