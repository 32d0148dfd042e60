"""The dask engine, from the command's side: what is left to do goes out volume by volume, the largest first."""

import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from cache_schema.common.errors import MachineError, ParticipantWithdrawn
from cache_schema.common.terminal.progress import VolumeCounter
from cache_schema.format.identity import VolumeKey
from cache_schema.store.writer import StoreWriter
from extract.engines.local import EngineTally, failure_of, note_failure
from extract.engines.over_dask.connect import Workers
from extract.engines.over_dask.jobs import refusals_of
from extract.engines.over_dask.receipt import Receipt
from extract.engines.over_dask.window import is_killed, outcomes
from extract.engines.over_dask.worker import Work, embed_volume, forget
from extract.planning.plan import PlannedVolume

PATIENCE_SECONDS = 30.0
DIED = "the workers that read it died, most likely for want of memory"


def run_dask(
    volumes: Sequence[PlannedVolume],
    work: Work,
    workers: Workers,
    writer: StoreWriter,
    progress: VolumeCounter,
    tally: EngineTally,
    replacing: frozenset[VolumeKey] = frozenset(),
) -> None:
    """Have the volumes embedded and committed by the workers.

    Args:
        volumes: What is to be done, each once.
        work: What a worker needs for all of them.
        workers: The connection.
        writer: The open store, for what no worker lives to say.
        progress: Is told of every volume.
        tally: Counts them, also when the machine fails on the way.
        replacing: Volumes whose record goes before their new data is written.

    Raises:
        MachineError: If the scheduler is gone, no job is taken, or a worker's machine fails.
    """
    largest_first = sorted(volumes, key=lambda planned: -planned.max_slices)
    asked = [(planned, planned.candidate.key in replacing) for planned in largest_first]
    numbers = {planned.candidate.key: number for number, planned in enumerate(largest_first)}
    came = outcomes(
        workers.client,
        partial(embed_volume, work),
        asked,
        lambda each: f"slicecache-{work.run}-{numbers[each[0].candidate.key]}",
        workers.width,
        Patience(workers).look,
    )
    for (planned, _), result in came:
        _count(planned, result, writer, progress, tally)
    if not workers.ours:
        workers.client.run(forget)


def new_run() -> str:
    """A name for a run that no other has."""
    return uuid4().hex[:12]


def _count(
    planned: PlannedVolume,
    result: Receipt | BaseException,
    writer: StoreWriter,
    progress: VolumeCounter,
    tally: EngineTally,
) -> None:
    """Book what came of one volume."""
    candidate = planned.candidate
    if is_killed(result):
        failure = failure_of(candidate, DIED)
        try:
            note_failure(writer, failure)
        except ParticipantWithdrawn:
            tally.withdrawn.append(candidate.key)
            return
        result = Receipt(0, 0.0, "", DIED)
    if isinstance(result, BaseException):
        raise result
    if result.withdrawn:
        tally.withdrawn.append(candidate.key)
    elif result.reason:
        tally.failures.append(failure_of(candidate, result.reason))
        progress.failed()
    else:
        tally.embedded += 1
        tally.slices += result.slices
        progress.done(result.slices)


class Patience:
    """Waits for workers, and says so: a queue may be long, and a job that is refused never comes."""

    def __init__(self, workers: Workers) -> None:
        """Begin to wait."""
        self._workers, self._since, self._said = workers, time.monotonic(), False

    def look(self) -> None:
        """Whether anybody works.

        Raises:
            MachineError: If nobody does, and the batch system has refused a job.
        """
        client: Any = self._workers.client
        if client.nthreads():
            self._since, self._said = time.monotonic(), False
            return
        if refusals := refusals_of(client.cluster):
            raise MachineError(f"the batch system took no job: {refusals[0]}")
        if not self._said and time.monotonic() - self._since > PATIENCE_SECONDS:
            self._said = True
            print("waiting: the dask scheduler has no worker yet", file=sys.stderr, flush=True)
