"""What the `dask` section of a site file says: who starts the workers, how many, and what each of them has."""

from typing import Literal, Self

from pydantic import Field, model_validator

from cache_schema.common.strict import Strict

ClusterName = Literal["local", "slurm", "pbs", "sge", "lsf", "kubernetes"]
CORES_PER_WORKER = 4
"""Without a GPU: a backbone's products gain little from more cores, and every worker holds one."""
NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""What schedulers are told: no page for the network to see, and no fixed port that two runs would want."""
CLOCK = r"^\d+:[0-5]\d:[0-5]\d$"


class DaskSettings(Strict):
    """Where the workers of `--engine dask` come from."""

    cluster: ClusterName = "local"
    """`local` starts them on this machine; the others ask a batch system for a job per worker, or Kubernetes."""
    workers: int | None = Field(default=None, ge=1)
    """Processes on this machine, for `local`; by default one for each GPU, or for every four cores."""
    minimum_jobs: int = Field(default=1, ge=0)
    """Jobs that are kept, also when one of them is cancelled or lost."""
    maximum_jobs: int = Field(default=4, ge=1)
    """Jobs that are asked for while there is work for them."""
    cores: int = Field(default=4, ge=1)
    """Of a job."""
    memory: str = "16GB"
    """Of a job."""
    gpus: int = Field(default=0, ge=0)
    """Of a job, one for each of its workers."""
    walltime: str = Field(default="04:00:00", pattern=CLOCK)
    """Of a job, `hours:minutes:seconds`; its workers hand their work over and end before it."""
    partition: str | None = None
    """Partition or queue."""
    account: str | None = None
    directives: tuple[str, ...] = ()
    """Further lines of the job's header, without `#SBATCH` and the like."""
    prologue: tuple[str, ...] = ()
    """Shell lines before the worker starts: modules, environments."""
    python: str | None = None
    """Python on the nodes, where it is not the one that this command runs in."""
    interface: str | None = None
    """Network interface by which workers and scheduler find each other, e.g. `ib0`."""
    host: str | None = None
    """Address of this machine that the workers can reach, where `interface` does not say it."""
    log_folder: str | None = None
    """Where jobs write what their workers say."""
    image: str | None = None
    """Container image of the workers, for `kubernetes`."""
    namespace: str | None = None
    """Of Kubernetes."""
    claims: dict[str, str] = {}
    """Volume claims of Kubernetes, by name, and the folders where workers see them."""
    encrypted: bool = True
    """Speak TLS with certificates of this run: who reaches a plain scheduler can run code as you."""

    @model_validator(mode="after")
    def _jobs(self) -> Self:
        if self.minimum_jobs > self.maximum_jobs:
            raise ValueError(f"minimum_jobs ({self.minimum_jobs}) is above maximum_jobs ({self.maximum_jobs})")
        return self


def workers_of(cores: int, gpus: int) -> int:
    """Workers of a machine or a job: one for each GPU, or for every four cores."""
    return min(gpus, cores) or -(-cores // CORES_PER_WORKER)
