"""The dask engine, from the command's side: what is left goes out volume by volume, the largest first.

A volume that several stores lack goes out once, and comes back with a receipt for each.
"""

from collections.abc import Sequence
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
from extract.engines.decode import wanted_by
from extract.engines.left import StoreLeft
from extract.engines.over_dask.receipt import Receipt
from extract.engines.over_dask.worker import StoreWork, Work, embed_volume, forget
from extract.engines.pending import failure_of, note_failure
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

    def __call__(self, lefts: Sequence[StoreLeft], progress: VolumeCounter) -> None:
        """Embed and commit, and count, also when the machine fails on the way.

        Raises:
            ConfigError: If the workers cannot be had as it was said.
            MachineError: If there is no scheduler any more, no job is taken, or a worker's machine fails.
        """
        self.shared.mkdir(parents=True, exist_ok=True)
        with connected(self.settings, self.scheduler, self.host, self.shared) as workers:
            work = Work(
                run=uuid4().hex[:12],
                stores=tuple(map(_work_of, lefts)),
                base=lefts[0].station.base,
                divide_gpus=workers.ours,
                versions=versions(),
            )
            run_dask(lefts, work, workers, progress)


def _work_of(left: StoreLeft) -> StoreWork:
    volumes = left.pending.volumes
    longest = max(planned.max_slices for planned in volumes)
    return StoreWork(left.station.section, left.station.writer.location, longest, len(volumes))


def run_dask(lefts: Sequence[StoreLeft], work: Work, workers: Workers, progress: VolumeCounter) -> None:
    """Have the volumes embedded and committed by the workers.

    Args:
        lefts: What is to be done, for each store.
        work: What a worker needs for all of it.
        workers: The connection.
        progress: Is told of every volume of every store.
    """
    wanted = wanted_by([left.pending.volumes for left in lefts])
    largest_first = sorted(wanted, key=lambda each: -each[0].max_slices)
    numbers = {planned.candidate.key: number for number, (planned, _) in enumerate(largest_first)}
    asked = [
        (planned, tuple((place, planned.candidate.key in lefts[place].pending.replacing) for place in places))
        for planned, places in largest_first
    ]
    came = outcomes(
        workers.client,
        partial(embed_volume, work),
        asked,
        lambda each: f"slicecache-{work.run}-{numbers[each[0].candidate.key]}",
        workers.width,
        Patience(workers).look,
    )
    for (planned, stores), result in came:
        asking = [lefts[place] for place, _ in stores]
        if is_killed(result):
            result = tuple(_died(planned, left) for left in asking)
        if isinstance(result, BaseException):
            raise result
        for left, receipt in zip(asking, result, strict=True):
            _count(planned, receipt, left, progress)
    workers.client.run(forget, on_error="ignore")


def _count(planned: PlannedVolume, receipt: Receipt, left: StoreLeft, progress: VolumeCounter) -> None:
    """Book what came of one volume for one store."""
    candidate, tally = planned.candidate, left.tally
    if receipt.withdrawn:
        tally.withdrawn.append(candidate.key)
    elif receipt.reason:
        tally.failures.append(failure_of(candidate, receipt.reason))
        progress.failed()
    else:
        tally.embedded += 1
        tally.slices += receipt.slices
        progress.done(receipt.slices)


def _died(planned: PlannedVolume, left: StoreLeft) -> Receipt:
    """Say in the store what no worker lived to say."""
    try:
        note_failure(left.station.writer, failure_of(planned.candidate, DIED))
    except ParticipantWithdrawn:
        return Receipt(0, 0.0, "", withdrawn=True)
    return Receipt(0, 0.0, "", DIED)
