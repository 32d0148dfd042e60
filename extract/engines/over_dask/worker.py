"""The task: one volume, in a thread of a worker."""

import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cache_schema.cluster.alike import naming_host, require_alike, versions
from cache_schema.common.custom import permit_targets
from cache_schema.common.errors import ParticipantWithdrawn, VolumeError
from extract.engines.over_dask.bench import Bench, take_part
from extract.engines.over_dask.receipt import Receipt, cut
from extract.engines.station import open_station
from extract.planning.config import ExtractSection
from extract.planning.plan import PlannedVolume


@dataclass(frozen=True, slots=True)
class Work:
    """What every volume of a run needs alike."""

    run: str
    """Tells this run from others, also from an earlier one of the same pipeline."""
    section: ExtractSection
    base: Path
    """Folder that relative paths start from."""
    store: str
    longest: int
    """Most slices of a volume."""
    volumes: int
    """How many there are."""
    divide_gpus: bool
    """Whether the workers of a machine are to divide its GPUs among them."""
    versions: dict[str, str | None]
    """Of `ALIKE`, where the command runs."""


_benches: list[tuple[Bench, ExitStack]] = []
"""One or none; what is open behind a bench ends with it."""
_making = threading.Lock()


def embed_volume(work: Work, asked: tuple[PlannedVolume, bool]) -> Receipt:
    """Read, embed and commit one volume, and say so in few bytes.

    Args:
        work: What every volume needs alike.
        asked: The volume, and whether its record goes before its new data is written.

    Raises:
        SlicecacheError: For what is not wrong with this volume alone; it names the host.
    """
    planned, again = asked
    slices, reason, withdrawn, started = 0, "", False, time.perf_counter()
    with naming_host():
        bench = bench_for(work)
        try:
            try:
                slices = bench.embed(planned, again)
            except VolumeError as error:
                reason = str(error)
                bench.note(planned, reason)
        except ParticipantWithdrawn:
            reason, withdrawn = "", True
    return Receipt(slices, time.perf_counter() - started, socket.gethostname(), cut(reason), withdrawn)


def bench_for(work: Work) -> Bench:
    """This process's bench of a run; that of another run is let go.

    Raises:
        SlicecacheError: If this worker cannot take part.
    """
    with _making:
        if not _benches or _benches[0][0].run != work.run:
            _clear()
            bench, behind = _made(work), ExitStack()
            behind.enter_context(bench.heart())
            _benches.append((bench, behind))
        return _benches[0][0]


def forget() -> None:
    """Let the backbone go, and say that all is done."""
    with _making:
        _clear()


def _clear() -> None:
    while _benches:
        _, behind = _benches.pop()
        behind.close()


def _made(work: Work) -> Bench:
    from dask.distributed import get_worker

    require_alike(work.versions, versions())
    # Whoever typed the command has permitted them there; what a store names stays forbidden here, too.
    permit_targets(work.section.model_dump(mode="json"), work.base)
    me = get_worker()
    take_part(str(me.name), me.state.nthreads, work.divide_gpus)
    station = open_station(work.section, work.base, work.store, (), longest=work.longest)
    embedder = station.embedder()
    return Bench(work.run, work.section.preprocessing, embedder, station.writer, work.volumes)
