"""Workers as jobs of a batch system: dask-jobqueue's classes, told what a site wants said.

A job's workers end by themselves a while before the walltime, not all at once, and what they have begun
goes to others; `adapt` asks for new jobs. Slurm is tried with a real one, PBS, SGE and LSF by their scripts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from cache_schema.cluster.settings import NO_DASHBOARD, ClusterName, DaskSettings, WorkerHost
from cache_schema.common.one_line import one_line

LIFETIME, STAGGER = 0.85, 0.05
"""Shares of the walltime after which a worker ends, and by which that is drawn earlier or later."""
GOODBYE_SECONDS = 60
"""A worker that finds no scheduler for so long ends."""
ROLES = ("client", "scheduler", "worker")
CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}

# A worker must not be paused for what torch keeps in memory: of receipts there is nothing to free.
NO_PAUSE = "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False"


@contextmanager
def job_cluster(settings: DaskSettings, job: WorkerHost, shared: Path) -> Iterator[Any]:
    """A cluster whose workers are jobs, as many as there is work for.

    Args:
        settings: What the site wants said.
        job: What each job gets.
        shared: A folder that the nodes see too.
    """
    with TemporaryDirectory(prefix="dask-", dir=shared) as folder:  # for its owner alone
        keys = {"security": fresh_keys(Path(folder))} if settings.encrypted else {}
        kind = cluster_class(settings)
        with kind(job_cls=_telling(kind.job_cls), **job_options(settings, job), **keys) as cluster:
            cluster.adapt(minimum_jobs=settings.minimum_jobs, maximum_jobs=settings.maximum_jobs)
            yield cluster


def _telling(job_class: Any) -> Any:
    """A job class that keeps what the batch system said when it refused a job; dask only logs it."""
    from distributed.core import Status

    class Job(job_class):
        refusals: ClassVar[list[str]] = []

        async def start(self) -> None:
            try:
                await super().start()
            except Exception as error:
                self.refusals.append(one_line(str(error).rpartition("stderr:\n")[2].strip()))
                self.status = Status.failed  # else closing the cluster finds a job that is neither
                raise

    return Job


def refusals_of(cluster: Any) -> list[str]:
    """What the batch system said to jobs that it did not take."""
    return getattr(getattr(cluster, "job_cls", None), "refusals", [])


def fresh_keys(folder: Path) -> Any:
    """Certificates for this run alone, in files that a job can name."""
    from dask.distributed import Security

    made = Security.temporary().get_tls_config_for_role("scheduler")
    files = {name: folder / f"{name}.pem" for name in ("ca_file", "cert", "key")}
    for name, file in files.items():
        file.write_text(made[name], encoding="ascii")
    paths = {f"tls_{role}_{name}": str(files[name]) for role in ROLES for name in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=str(files["ca_file"]), **paths)


def cluster_class(settings: DaskSettings) -> Any:
    """dask-jobqueue's class of a batch system."""
    import dask_jobqueue

    return getattr(dask_jobqueue, CLASSES[settings.cluster])


def job_options(settings: DaskSettings, job: WorkerHost) -> dict[str, Any]:
    """What dask-jobqueue's classes take."""
    scheduler = NO_DASHBOARD | ({} if settings.host is None else {"host": settings.host})
    common = {
        "cores": job.cores,
        "processes": job.workers,
        "memory": f"{job.gib}GiB",
        "walltime": clock(job.seconds),
        "queue": job.partition,
        "interface": settings.interface,
        "job_name": "slicecache",
        "job_extra_directives": [*_gpus(settings.cluster, job.gpus), *job.directives, *settings.directives],
        "job_script_prologue": [*job.prologue, NO_PAUSE],
        "worker_extra_args": [*lifetime(job.seconds), "--no-dashboard"],
        "death_timeout": GOODBYE_SECONDS,
        "log_directory": None if settings.logs is None else str(settings.logs),
        "python": job.python,
        "scheduler_options": scheduler,
        "silence_logs": "critical",
    }
    return common | _own_words(settings.cluster, job)


def _own_words(cluster: ClusterName, job: WorkerHost) -> dict[str, Any]:
    """What a batch system calls otherwise than the others."""
    if cluster == "pbs":
        gpus = f":ngpus={job.gpus}" if job.gpus else ""
        return {"account": job.account, "resource_spec": f"select=1:ncpus={job.cores}:mem={job.gib}gb{gpus}"}
    if cluster == "sge":
        asked = [f"h_vmem={job.gib}G", *([f"gpu={job.gpus}"] if job.gpus else [])]
        return {"project": job.account, "resource_spec": ",".join(asked)}
    if cluster == "lsf":
        minutes = clock(job.seconds).rpartition(":")[0]
        return {"project": job.account, "walltime": minutes, "lsf_units": "mb"}
    return {"account": job.account}


def _gpus(cluster: ClusterName, count: int) -> list[str]:
    """How LSF is asked for GPUs; PBS and SGE are with the other resources, Slurm by the site's own words."""
    return [f'-gpu "num={count}"'] if cluster == "lsf" and count else []


def clock(seconds: int) -> str:
    """`hours:minutes:seconds`, as all of them read it."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def lifetime(walltime_seconds: int) -> list[str]:
    """The worker's options by which it ends before its job does."""
    first, spread = walltime_seconds * LIFETIME, walltime_seconds * STAGGER
    return ["--lifetime", f"{first:.0f}s", "--lifetime-stagger", f"{spread:.0f}s"]
