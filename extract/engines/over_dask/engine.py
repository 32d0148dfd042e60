"""The dask engine, from the command's side: what is left goes out volume by volume, the largest first."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from cache_schema.cluster.alike import versions
from cache_schema.cluster.connect import Workers, connected
from cache_schema.cluster.patience import Patience
from cache_schema.cluster.settings import DaskSettings, WorkerHost
from cache_schema.cluster.window import is_killed, outcomes
from cache_schema.common.errors import ParticipantWithdrawn
from cache_schema.common.terminal.progress import VolumeCounter
from cache_schema.store.writer import StoreWriter
from extract.engines.local import EngineTally
from extract.engines.over_dask.receipt import Receipt
from extract.engines.over_dask.worker import Work, embed_volume, forget
from extract.engines.pending import Pending, failure_of, note_failure
from extract.engines.station import Station
from extract.planning.plan import PlannedVolume

DIED = "the workers that read it died, most likely for want of memory"


@dataclass(frozen=True, slots=True)
class DaskEngine:
    """Gives what is left to do to the workers of a dask scheduler."""

    settings: DaskSettings
    host: WorkerHost
    """What a job gets, or what this machine has."""
    scheduler: str | None
    """Address of a scheduler that somebody else has started."""
    shared: Path
    """A folder that the workers see too."""

    def __call__(
        self, pending: Pending, station: Station, progress: VolumeCounter, tally: EngineTally
    ) -> None:
        """Embed and commit, and count, also when the machine fails on the way.

        Raises:
            ConfigError: If the workers cannot be had as it was said.
            MachineError: If there is no scheduler any more, no job is taken, or a worker's machine fails.
        """
        self.shared.mkdir(parents=True, exist_ok=True)
        longest = max(planned.max_slices for planned in pending.volumes)
        with connected(self.settings, self.scheduler, self.host, self.shared) as workers:
            work = Work(
                run=uuid4().hex[:12],
                section=station.section,
                base=station.base,
                store=station.writer.location,
                longest=longest,
                volumes=len(pending.volumes),
                divide_gpus=workers.ours,
                versions=versions(),
            )
            run_dask(pending, work, workers, station.writer, progress, tally)


def run_dask(
    pending: Pending,
    work: Work,
    workers: Workers,
    writer: StoreWriter,
    progress: VolumeCounter,
    tally: EngineTally,
) -> None:
    """Have the volumes embedded and committed by the workers.

    Args:
        pending: What is to be done.
        work: What a worker needs for all of it.
        workers: The connection.
        writer: The open store, for what no worker lives to say.
        progress: Is told of every volume.
        tally: Counts them.
    """
    largest_first = sorted(pending.volumes, key=lambda planned: -planned.max_slices)
    asked = [(planned, planned.candidate.key in pending.replacing) for planned in largest_first]
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
    workers.client.run(forget, on_error="ignore")


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
