"""What an engine is given of one store, and what the local one does with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from cache_schema.common.terminal.progress import VolumeCounter
from extract.engines.device import choose_workers
from extract.engines.local import EngineTally, StoreWork, run_local
from extract.engines.pending import Pending
from extract.engines.station import Station


@dataclass(frozen=True, slots=True)
class StoreLeft:
    """What is left to do for one store of a run."""

    pending: Pending
    station: Station
    tally: EngineTally
    """Counts, also when the machine fails on the way."""


def embed_here(lefts: Sequence[StoreLeft], progress: VolumeCounter, shard: str = "", beside: int = 1) -> None:
    """Embed and commit in this process, on its device, and count, also on the way to an error.

    Args:
        lefts: What is to be done, for each store.
        progress: Is told of every volume of every store.
        shard: Names the share that it is, if it is one.
        beside: Processes that divide this machine's cores, this one counted.
    """
    works = [
        StoreWork(
            left.pending.volumes,
            left.station.section.preprocessing,
            left.station.embedder(),
            left.station.writer,
            left.tally,
            left.pending.replacing,
        )
        for left in lefts
    ]
    most = max(len(work.volumes) for work in works)
    station = lefts[0].station
    workers = choose_workers(station.section.workers, station.device, station.machine, most, beside)
    run_local(works, workers, progress, shard)
    for work in works:
        work.tally.notes += work.embedder.notes
