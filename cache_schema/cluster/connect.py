"""A connection to workers: started here, jobs of a batch system, or those of somebody else's scheduler."""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_schema.cluster import on_this_machine
from cache_schema.cluster.jobs import cluster_class, job_cluster
from cache_schema.cluster.kubernetes import kubernetes_cluster
from cache_schema.cluster.settings import NO_DASHBOARD, DaskSettings, WorkerHost
from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.common.one_line import one_line

AHEAD = 2
"""Tasks under way for each thread of a worker: one that runs, and one that waits at hand."""
LEAST = 4
"""Tasks under way while nobody knows of any worker."""
DEATHS = 2
"""Workers that a task may lose before it is a suspect, with schedulers of ours; dask's own limit is 4."""


@dataclass(frozen=True, slots=True)
class Workers:
    """A client, and what is known of the workers behind it."""

    client: Any
    ours: bool
    """Whether they were started for this run: then GPUs are divided among those of one machine."""
    most_threads: int
    """Of all workers together, once all that may come are there; 0 when somebody else starts them."""

    def width(self) -> int:
        """Tasks that may be under way: so few that slow workers do not hoard, so many that `adapt` asks."""
        return max(LEAST, AHEAD * (self.most_threads or sum(self.client.nthreads().values())))


@contextmanager
def connected(
    settings: DaskSettings, scheduler: str | None, each: WorkerHost, shared: Path
) -> Iterator[Workers]:
    """Start what the settings say, or reach a scheduler that somebody else has started; end what was started.

    Args:
        settings: Where workers come from.
        scheduler: Address of a scheduler, instead.
        each: What a job or a pod gets; for workers on this machine, what it has.
        shared: A folder that the workers see too, for certificates.

    Raises:
        ConfigError: If dask refuses what was said, or this machine has no such batch system.
        MachineError: If nothing answers, or the scheduler cannot be started.
    """
    import dask.config
    from distributed.utils import silence_logging_cmgr

    if scheduler is not None:
        with silence_logging_cmgr(logging.CRITICAL), _client(scheduler) as client:
            yield Workers(client, ours=False, most_threads=0)
        return
    threads = settings.maximum_jobs * each.cores
    if settings.cluster == "local":
        count = settings.workers or each.workers
        threads, cluster = count * each.threads(count), _local_cluster(count, each.threads(count))
    elif settings.cluster == "kubernetes":
        cluster = kubernetes_cluster(settings, each)
    else:
        require_batch_system(settings)
        cluster = job_cluster(settings, each, shared)
    quiet = silence_logging_cmgr(logging.CRITICAL)
    limits = dask.config.set({"distributed.scheduler.allowed-failures": DEATHS - 1})
    with quiet, limits, cluster as started, _client(started) as client:
        yield Workers(client, ours=True, most_threads=threads)


@contextmanager
def _local_cluster(workers: int, threads: int) -> Iterator[Any]:
    """Processes on this machine, which nobody else can reach: on its own address, with keys of their own."""
    from dask.distributed import LocalCluster

    with LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        memory_limit=0,
        host="127.0.0.1",
        security=True,
        scheduler_kwargs=NO_DASHBOARD,
        preload=[on_this_machine.__name__],
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


@contextmanager
def _client(cluster: Any) -> Iterator[Any]:
    """A client of a cluster that was started here, or of the scheduler at an address.

    Raises:
        ConfigError: If it is no address.
        MachineError: If nothing answers there.
    """
    from dask.distributed import Client
    from distributed.versions import VersionMismatchWarning

    with warnings.catch_warnings():
        # What of the versions matters is refused by the worker, in one sentence.
        warnings.simplefilter("ignore", category=VersionMismatchWarning)
        try:
            client = Client(cluster, set_as_default=False)
        except ValueError as error:
            raise ConfigError(f"--scheduler {cluster!r}: {error}") from error
        except OSError as error:
            raise MachineError(f"no dask scheduler answers at {cluster!r}: {one_line(str(error))}") from error
        with client:
            yield client


def require_batch_system(settings: DaskSettings) -> None:
    """Refuse to wait for jobs that nobody can submit.

    Raises:
        ConfigError: If the command that submits them is not here.
    """
    command = cluster_class(settings).job_cls.submit_command.split()[0]
    if shutil.which(command) is None:
        raise ConfigError(
            f"dask.cluster is {settings.cluster!r}, and there is no {command!r} on this machine: run it "
            "where jobs are submitted, or take another cluster"
        )
