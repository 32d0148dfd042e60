"""Decode volumes ahead of the backbone, in spawned processes that never import torch.

Spawned and not forked: a fork after torch has threads hangs. A bounded number of volumes is in flight, so
that memory does not grow with the cohort. They come back in the order in which they were asked for.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from cache_schema.common.errors import VolumeError
from cache_schema.common.machine import refuse_everywhere
from cache_schema.format.identity import VolumeKey
from extract.planning.plan import PlannedVolume
from extract.slices.prepare import PreparedVolume, prepare_each
from extract.slices.preprocessing import Preprocessing
from extract.sources.candidate import Candidate

MOST_WORKERS = 16
"""Processes that decode."""
AHEAD = 1
"""Volumes in flight beyond one per process."""
NICENESS = 10
"""Decoding yields to the backbone where they share cores: a stolen core stalls all threads of a product."""
DIED = "the process that read it died, most likely for want of memory"


Asked = tuple[PlannedVolume, tuple[int, ...]]
"""A volume with the places of the stores that want it, among those of the run."""
Ready = tuple[PlannedVolume, dict[int, PreparedVolume | str]]
"""A volume with its slice images for each such store, or with the sentence that says why there are none."""


def wanted_by(several: Sequence[Sequence[PlannedVolume]]) -> list[Asked]:
    """Every volume once, sorted by key, with the places of those who want it."""
    found: dict[VolumeKey, tuple[PlannedVolume, tuple[int, ...]]] = {}
    for place, volumes in enumerate(several):
        for planned in volumes:
            first, places = found.get(planned.candidate.key, (planned, ()))
            found[planned.candidate.key] = first, (*places, place)
    return [found[key] for key in sorted(found)]


def decode_ahead(
    volumes: Sequence[Asked], steps: Sequence[Preprocessing], workers: int, begin: int | None = None
) -> Iterator[Ready]:
    """Prepare volumes in order, `workers` at a time; 0 does it in this process.

    Args:
        volumes: Each once, whatever number of stores want it.
        steps: By place of the store.
        workers: Processes.
        begin: So many of them at first, and one more whenever a volume is not ready when it is asked for,
            so that decoding takes as much of the cores as keeps the backbone fed; all by default.
    """
    if workers == 0:
        for planned, places in volumes:
            made = attempt(planned.candidate, [steps[place] for place in places])
            yield planned, dict(zip(places, made, strict=True))
        return
    workers = min(workers, max(1, len(volumes)))
    yield from _Ahead(steps, workers, min(begin or workers, workers)).run(volumes)


def attempt(candidate: Candidate, several: Sequence[Preprocessing]) -> tuple[PreparedVolume | str, ...]:
    """Prepare one volume for each store; what is wrong with it comes back as a sentence.

    Raises:
        MachineError: If what is wrong is not wrong with this volume alone: too many open files.
    """
    try:
        made = prepare_each(candidate, several)
    except VolumeError as error:
        refuse_everywhere(error, candidate.path)
        return (str(error),) * len(several)
    except MemoryError:
        return ("it does not fit in memory",) * len(several)
    # One file that no reader expected must not end a night's run. It is not swallowed: it becomes a row of
    # failures.tsv and the command ends with 1.
    except Exception as error:
        refuse_everywhere(error, candidate.path)
        said = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return (said,) * len(several)
    return tuple(str(each) if isinstance(each, VolumeError) else each for each in made)


class _Ahead:
    """The pool and the volumes in flight; made anew when a process dies."""

    def __init__(self, steps: Sequence[Preprocessing], workers: int, begin: int) -> None:
        self.steps, self.workers, self.wanted = steps, workers, begin
        self.pool = self._new_pool(workers)
        self.started = False
        """Whether a volume was asked for: the first one is always waited for."""
        self.flying: deque[tuple[Asked, Future[tuple[PreparedVolume | str, ...]]]] = deque()

    def run(self, volumes: Sequence[Asked]) -> Iterator[Ready]:
        """Everything in order."""
        waiting = deque(volumes)
        try:
            while waiting or self.flying:
                while waiting and len(self.flying) < self.wanted + AHEAD:
                    asked = waiting.popleft()
                    self.flying.append((asked, self._submit(asked)))
                (planned, places), future = self.flying[0]
                if self.started and not future.done():  # the pool starts a process when all are at work
                    self.wanted = min(self.wanted + 1, self.workers)
                self.started = True
                try:
                    result = future.result()
                except BrokenProcessPool:
                    yield from self._one_by_one()
                    continue
                self.flying.popleft()
                yield planned, dict(zip(places, result, strict=True))
        finally:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=spawn, initializer=start_worker)

    def _submit(self, asked: Asked) -> Future[tuple[PreparedVolume | str, ...]]:
        planned, places = asked
        try:
            return self.pool.submit(attempt, planned.candidate, [self.steps[place] for place in places])
        except BrokenProcessPool as error:
            broken: Future[tuple[PreparedVolume | str, ...]] = Future()
            broken.set_exception(error)
            return broken

    def _one_by_one(self) -> Iterator[Ready]:
        """A process died and took the pool with it: find out which volume it was, one at a time."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        suspects = [asked for asked, _ in self.flying]
        self.flying.clear()
        for planned, places in suspects:
            self.pool = self._new_pool(1)
            try:
                result = self._submit((planned, places)).result()
            except BrokenProcessPool:
                result = (DIED,) * len(places)
            self.pool.shutdown(wait=True, cancel_futures=True)
            yield planned, dict(zip(places, result, strict=True))
        self.pool = self._new_pool(self.workers)


def start_worker() -> None:
    """Runs first in every process: yield to the backbone, leave Ctrl-C to the parent, end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    """Wait for the parent to be gone, even by `kill -9`, and leave no orphan behind."""
    parent.join()
    os._exit(1)
