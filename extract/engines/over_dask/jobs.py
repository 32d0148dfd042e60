"""Workers as jobs of a batch system: dask-jobqueue's classes, told what a site wants said.

A job's workers end by themselves a while before the walltime, not all at once, and what they have begun goes to
others; `adapt` asks for new jobs. Slurm is tried against a real one; PBS, SGE and LSF only by their scripts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from cache_schema.common.one_line import one_line
from extract.engines.over_dask.settings import NO_DASHBOARD, DaskSettings, workers_of

LIFETIME, STAGGER = 0.85, 0.05
"""Shares of the walltime after which a worker ends, and by which that is drawn earlier or later."""
GOODBYE_SECONDS = 60
"""A worker that finds no scheduler for so long ends."""
ROLES = ("client", "scheduler", "worker")
CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}

# A worker must not be paused for what torch keeps in memory: its results are receipts, and nothing would free any.
NO_PAUSE = "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False"


@contextmanager
def job_cluster(settings: DaskSettings, shared: Path) -> Iterator[Any]:
    """A cluster whose workers are jobs, as many as there is work for.

    Args:
        settings: What the site wants said.
        shared: A folder that the nodes see too.
    """
    with TemporaryDirectory(prefix="dask-", dir=shared) as folder:  # for its owner alone
        keys = {"security": fresh_keys(Path(folder))} if settings.encrypted else {}
        kind = cluster_class(settings)
        with kind(job_cls=_telling(kind.job_cls), **job_options(settings), **keys) as cluster:
            cluster.adapt(minimum_jobs=settings.minimum_jobs, maximum_jobs=settings.maximum_jobs)
            yield cluster


def _telling(job_class: Any) -> Any:
    """A job class that keeps what the batch system said when it refused a job; dask only logs it."""

    class Job(job_class):
        refusals: ClassVar[list[str]] = []

        async def start(self) -> None:
            try:
                await super().start()
            except Exception as error:
                self.refusals.append(one_line(str(error)))
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


def job_options(settings: DaskSettings) -> dict[str, Any]:
    """What dask-jobqueue's classes take."""
    scheduler: dict[str, Any] = dict(NO_DASHBOARD)
    if settings.host is not None:
        scheduler["host"] = settings.host
    common = {
        "cores": settings.cores,
        "processes": workers_of(settings.cores, settings.gpus),
        "memory": settings.memory,
        "walltime": settings.walltime,
        "queue": settings.partition,
        "interface": settings.interface,
        "job_name": "slicecache",
        "job_extra_directives": [*gpu_directives(settings), *settings.directives],
        "job_script_prologue": [*settings.prologue, NO_PAUSE],
        "worker_extra_args": [*lifetime(settings.walltime), "--no-dashboard"],
        "death_timeout": GOODBYE_SECONDS,
        "log_directory": settings.log_folder,
        "python": settings.python,
        "scheduler_options": scheduler,
        "silence_logs": "critical",
    }
    return common | _own_words(settings)


def _own_words(settings: DaskSettings) -> dict[str, Any]:
    """What a batch system calls otherwise than the others."""
    if settings.cluster == "sge":
        return {"project": settings.account, "resource_spec": f"h_vmem={settings.memory}"}
    if settings.cluster == "lsf":
        hours, minutes, _ = settings.walltime.split(":")
        return {"project": settings.account, "walltime": f"{hours}:{minutes}", "lsf_units": "mb"}
    if settings.cluster == "pbs":
        gpus = f":ngpus={settings.gpus}" if settings.gpus else ""
        chunk = f"select=1:ncpus={settings.cores}:mem={settings.memory.lower()}{gpus}"
        return {"account": settings.account, "resource_spec": chunk}
    return {"account": settings.account}


def gpu_directives(settings: DaskSettings) -> list[str]:
    """How a batch system is asked for GPUs; PBS is with the other resources."""
    words = {"slurm": "--gres=gpu:{}", "sge": "-l gpu={}", "lsf": '-gpu "num={}"'}.get(settings.cluster)
    return [words.format(settings.gpus)] if words and settings.gpus else []


def lifetime(walltime: str) -> list[str]:
    """The worker's options by which it ends before its job does."""
    hours, minutes, seconds = map(int, walltime.split(":"))
    whole = 3600 * hours + 60 * minutes + seconds
    return ["--lifetime", f"{whole * LIFETIME:.0f}s", "--lifetime-stagger", f"{whole * STAGGER:.0f}s"]
