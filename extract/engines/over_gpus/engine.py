"""The command's side: divide what is left, once, as shards divide a plan, and listen.

Each volume has one writer by construction, since it is in one share.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess

from cache_schema.common.errors import MachineError
from cache_schema.common.terminal.progress import VolumeCounter
from cache_schema.format.identity import VolumeKey
from extract.engines.decode import wanted_by
from extract.engines.left import StoreLeft
from extract.engines.local import EngineTally
from extract.engines.over_gpus.share import FAILED, GpuShare, StoreShare, embed_share
from extract.planning.shard import division

ENDING = 10.0
"""Seconds that a process which says nothing more has to end."""


@dataclass(slots=True)
class _Running:
    """A process, and what it has said so far."""

    share: GpuShare
    process: SpawnProcess
    pipe: Connection
    committed: int = 0
    ended: list[EngineTally] | None = None
    error: BaseException | None = None


def over_gpus(
    devices: Sequence[str], lefts: Sequence[StoreLeft], progress: VolumeCounter, shard: str = ""
) -> None:
    """Embed and commit on every GPU, and count, also on the way to an error.

    Args:
        devices: As `CUDA_VISIBLE_DEVICES` names them.
        lefts: What is to be done, for each store.
        progress: Is told of every volume of every store.
        shard: As `embed_here` takes it.

    Raises:
        MachineError: If a process dies; the others have done their share by then.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as ending:
        running = [ending.enter_context(_started(context, share)) for share in shares(devices, lefts, shard)]
        try:
            _listen(running, progress)
        finally:
            for one in running:
                _book(one, lefts)
    for one in running:
        if one.error is not None:
            raise one.error


def shares(devices: Sequence[str], lefts: Sequence[StoreLeft], shard: str) -> list[GpuShare]:
    """The share of every device that has one; a volume that several stores lack is in one share for all."""
    wanted = wanted_by([left.pending.volumes for left in lefts])
    whose = division([planned.max_slices for planned, _ in wanted], len(devices))
    taken = sorted(set(whose))
    found = []
    for number in taken:
        mine = {
            planned.candidate.key for (planned, _), own in zip(wanted, whose, strict=True) if own == number
        }
        stores = [_store_share(place, left, mine) for place, left in enumerate(lefts)]
        with_work = tuple(store for store in stores if store.volumes)
        found.append(GpuShare(devices[number], with_work, lefts[0].station.base, shard, len(taken)))
    return found


def _store_share(place: int, left: StoreLeft, mine: set[VolumeKey]) -> StoreShare:
    """The volumes of `mine` that a store lacks."""
    station, pending = left.station, left.pending
    volumes = tuple(planned for planned in pending.volumes if planned.candidate.key in mine)
    return StoreShare(
        place,
        station.section,
        station.writer.location,
        station.longest,
        volumes,
        pending.replacing & mine,
    )


@contextmanager
def _started(context: SpawnContext, share: GpuShare) -> Iterator[_Running]:
    """A process at work; where something else goes wrong it is asked to end, which tears no write."""
    ours, theirs = context.Pipe(duplex=False)
    # No daemon: it has processes of its own, which decode.
    process = context.Process(target=embed_share, args=(share, theirs), name=f"gpu-{share.device}")
    process.start()
    theirs.close()
    try:
        yield _Running(share, process, ours)
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
        ours.close()


def _listen(running: Sequence[_Running], progress: VolumeCounter) -> None:
    """Until every process has ended."""
    talking = list(running)
    while talking:
        ready = wait([one.pipe for one in talking])
        for one in [one for one in talking if one.pipe in ready]:
            try:
                _hear(one, one.pipe.recv(), progress)
            except EOFError:
                talking.remove(one)
                one.process.join(ENDING)


def _hear(one: _Running, said: object, progress: VolumeCounter) -> None:
    """One message."""
    if isinstance(said, BaseException):
        one.error = said
    elif isinstance(said, list):
        one.ended = said
    elif said == FAILED:
        progress.failed()
    else:
        one.committed += 1
        progress.done(int(str(said)))


def _book(one: _Running, lefts: Sequence[StoreLeft]) -> None:
    """Add what a process has done to what all have."""
    if one.ended is None:
        lefts[one.share.stores[0].place].tally.embedded += one.committed
        one.error = one.error or MachineError(
            f"the process on GPU {one.share.device} died (exit code {one.process.exitcode}), most likely for "
            "want of memory"
        )
        return
    for store, found in zip(one.share.stores, one.ended, strict=True):
        lefts[store.place].tally.add(found)
