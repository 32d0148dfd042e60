"""`--engine dask` for what only reads: one function over many things, on the workers of a site file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from cache_schema.cluster.alike import naming_host, require_alike, versions
from cache_schema.cluster.connect import connected
from cache_schema.cluster.host import require_dask, worker_host
from cache_schema.cluster.kept import forget, kept
from cache_schema.cluster.patience import Patience
from cache_schema.cluster.settings import DaskSettings, WorkerHost
from cache_schema.cluster.site import find_site
from cache_schema.cluster.window import is_killed, outcomes
from cache_schema.common.errors import ConfigError, MachineError

PoolName = Literal["local", "dask"]


@dataclass(frozen=True, slots=True)
class DaskPool:
    """Workers, not had yet."""

    settings: DaskSettings
    host: WorkerHost
    """What a job gets, or what this machine has."""
    scheduler: str | None
    """Address of a scheduler that somebody else has started."""
    shared: Path
    """A folder that the workers see too."""

    def each(
        self,
        make: Callable[[], Any],
        function: Callable[[Any, Any], Any],
        given: Sequence[Any],
        called: Callable[[Any], str],
    ) -> Iterator[tuple[Any, Any]]:
        """Run `function(made, one)` on the workers for each of `given`, and yield it with its result.

        Args:
            make: Makes what a worker's process needs for all of them, once.
            function: Its results are small.
            given: In the order in which they begin.
            called: What an error calls it.

        Raises:
            ConfigError: If the workers cannot be had as it was said.
            MachineError: If there is no scheduler any more, no job is taken, or workers die again and again.
        """
        self.shared.mkdir(parents=True, exist_ok=True)
        run = uuid4().hex[:12]
        task = partial(_task, run, versions(), make, function)
        with connected(self.settings, self.scheduler, self.host, self.shared) as workers:
            client = workers.client
            numbered = list(enumerate(given))
            look = Patience(workers).look
            for (_, one), result in outcomes(
                client, task, numbered, lambda each: f"slicecache-{run}-{each[0]}", workers.width, look
            ):
                if is_killed(result):
                    raise MachineError(
                        f"the workers that had {called(one)} died, most likely for want of memory; give "
                        "them more, and run the same command again"
                    )
                if isinstance(result, BaseException):
                    raise result
                yield one, result
            client.run(forget, on_error="ignore")


def _task(
    run: str,
    asked: dict[str, str | None],
    make: Callable[[], Any],
    function: Callable[[Any, Any], Any],
    numbered: tuple[int, Any],
) -> Any:
    """One of them, on a worker."""
    with naming_host():
        require_alike(asked, versions())
        return function(kept(run, make), numbered[1])


def asked_pool(engine: PoolName, scheduler: str | None, site: Path | None, shared: Path) -> DaskPool | None:
    """What `--engine`, `--scheduler` and `--site` say; None for this process.

    Args:
        engine: Where it runs.
        scheduler: Address of a scheduler that somebody has started.
        site: The site file, if one was named.
        shared: A folder that the workers see too, for certificates.

    Raises:
        ConfigError: If the options contradict each other, the site file cannot be meant, or dask is not
            installed.
    """
    for option, given in (("--scheduler", scheduler), ("--site", site)):
        if given is not None and engine != "dask":
            raise ConfigError(f"{option} says nothing to --engine {engine}: add --engine dask")
    if engine == "local":
        return None
    require_dask()
    found = find_site(site)
    return DaskPool(found.site.dask, worker_host(found, cpu_only=True), scheduler, shared)


def threads_here() -> int:
    """Threads that dask counts for the worker that this runs in."""
    from dask.distributed import get_worker

    return max(1, int(get_worker().state.nthreads))
