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
from extract.engines.decode import attempt
from extract.engines.over_dask.bench import Bench, take_part
from extract.engines.over_dask.receipt import Receipt, cut
from extract.engines.station import BuiltBackbones, open_station
from extract.planning.config import ExtractSection
from extract.planning.plan import PlannedVolume
from extract.slices.prepare import PreparedVolume


@dataclass(frozen=True, slots=True)
class StoreWork:
    """What every volume of a run needs alike for one store."""

    section: ExtractSection
    store: str
    longest: int
    """Most slices of a volume."""
    volumes: int
    """How many there are."""


@dataclass(frozen=True, slots=True)
class Work:
    """What every volume of a run needs alike."""

    run: str
    """Tells this run from others, also from an earlier one of the same pipeline."""
    stores: tuple[StoreWork, ...]
    base: Path
    """Folder that relative paths start from."""
    divide_gpus: bool
    """Whether the workers of a machine are to divide its GPUs among them."""
    versions: dict[str, str | None]
    """Of `ALIKE`, where the command runs."""


Wanted = tuple[tuple[int, bool], ...]
"""Places of the stores that want a volume, and whether its record goes before its new data is written."""

_benches: list[tuple[str, tuple[Bench, ...], ExitStack]] = []
"""Those of one run, or none, one for each store; what is open behind them ends with them."""
_making = threading.Lock()


def embed_volume(work: Work, asked: tuple[PlannedVolume, Wanted]) -> tuple[Receipt, ...]:
    """Read one volume, embed and commit it for every store that wants it, and say so in few bytes.

    Args:
        work: What every volume needs alike.
        asked: The volume, and who wants it.

    Returns:
        A receipt for each of these stores.

    Raises:
        SlicecacheError: For what is not wrong with this volume alone; it names the host.
    """
    planned, wanted = asked
    with naming_host():
        benches = benches_for(work)
        there = {place: None if again else _there(benches[place], planned) for place, again in wanted}
        missing = [place for place, receipt in there.items() if receipt is None]
        steps = [benches[place].preprocessing for place in missing]
        made = attempt(planned.candidate, steps) if steps else ()
        prepared = dict(zip(missing, made, strict=True))
        return tuple(
            there[place] or _embedded(benches[place], planned, prepared[place], again)
            for place, again in wanted
        )


def _there(bench: Bench, planned: PlannedVolume) -> Receipt | None:
    """Of a volume that a worker which was lost meanwhile has committed."""
    slices = bench.slices_of(planned)
    return None if slices is None else Receipt(slices, 0.0, socket.gethostname())


def _embedded(bench: Bench, planned: PlannedVolume, prepared: PreparedVolume | str, again: bool) -> Receipt:
    """Embed and commit for one store, or write down why not."""
    slices, reason, withdrawn, started = 0, "", False, time.perf_counter()
    try:
        try:
            if isinstance(prepared, str):
                raise VolumeError(prepared)
            slices = bench.embed(prepared, again)
        except VolumeError as error:
            reason = str(error)
            bench.note(planned, reason)
    except ParticipantWithdrawn:
        reason, withdrawn = "", True
    return Receipt(slices, time.perf_counter() - started, socket.gethostname(), cut(reason), withdrawn)


def benches_for(work: Work) -> tuple[Bench, ...]:
    """This process's benches of a run; those of another run are let go.

    Raises:
        SlicecacheError: If this worker cannot take part.
    """
    with _making:
        if not _benches or _benches[0][0] != work.run:
            _clear()
            benches, behind = _made(work), ExitStack()
            for bench in benches:
                behind.enter_context(bench.heart())
            _benches.append((work.run, benches, behind))
        return _benches[0][1]


def forget() -> None:
    """Let the backbone go, and say that all is done."""
    with _making:
        _clear()


def _clear() -> None:
    while _benches:
        _, _, behind = _benches.pop()
        behind.close()


def _made(work: Work) -> tuple[Bench, ...]:
    from dask.distributed import get_worker

    require_alike(work.versions, versions())
    # Whoever typed the command has permitted them there; what a store names stays forbidden here, too.
    for each in work.stores:
        permit_targets(each.section.model_dump(mode="json"), work.base)
    me = get_worker()
    take_part(str(me.name), me.state.nthreads, work.divide_gpus)
    built, device = BuiltBackbones(), threading.Lock()
    benches = []
    for each in work.stores:
        station = open_station(each.section, work.base, each.store, (), longest=each.longest, built=built)
        embedder = station.embedder()
        benches.append(Bench(each.section.preprocessing, embedder, station.writer, each.volumes, device))
    return tuple(benches)
