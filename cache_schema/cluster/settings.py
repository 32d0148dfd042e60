"""What the `dask` section of a site file says, and what a job or a machine of workers consists of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from cache_schema.common.strict import Strict

ClusterName = Literal["local", "slurm", "pbs", "sge", "lsf", "kubernetes"]

CORES_PER_WORKER = 4
"""Without a GPU: a backbone's products gain little from more cores, and every worker holds one."""
NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""What schedulers are told: no page for the network to see, and no fixed port that two runs would want."""


class DaskSettings(Strict):
    """Where the workers of `--engine dask` come from; what one of them gets is said beside this section."""

    cluster: ClusterName = "local"
    """`local` starts them on this machine, `kubernetes` as pods, the others as jobs of a batch system."""
    workers: int | None = Field(default=None, ge=1)
    """Processes on this machine, for `local`; by default one for each GPU, or for every four cores, e.g.
    `2`."""
    minimum_jobs: int = Field(default=1, ge=0)
    """Jobs or pods that are kept, also when one of them is cancelled or lost."""
    maximum_jobs: int = Field(default=4, ge=1)
    """Jobs or pods that are asked for while there is work for them."""
    gpus: int | None = Field(default=None, ge=0)
    """Of a job, one for each of its workers; by default one where the site has GPUs, e.g. `4`."""
    directives: tuple[str, ...] = ()
    """Further lines of the job's header, without `#PBS` and the like, e.g. `[--constraint=nvme]`."""
    python: tuple[str, ...] | None = None
    """What runs Python on the nodes, as words; that of the container, or the one that this is typed with,
    e.g. `[/opt/slicecache/bin/python]`."""
    interface: str | None = None
    """Network interface by which workers and scheduler find each other, e.g. `ib0`."""
    host: str | None = None
    """Address of this machine that the workers can reach, where `interface` does not say it, e.g.
    `10.0.0.1`."""
    logs: Path | None = None
    """Folder where jobs write what their workers say, e.g. `logs`."""
    encrypted: bool = True
    """Speak TLS with keys of this run; who reaches a plain scheduler can run programs as you."""
    image: str | None = None
    """Container image of the pods, e.g. `registry.example.org/slicecache:1`."""
    namespace: str | None = None
    """Of the pods, e.g. `brain`."""
    claims: Mapping[str, str] = {}
    """Volume claims of the pods, by name, and the folders where they see them, e.g. `{images: /data}`."""

    @model_validator(mode="after")
    def _jobs(self) -> Self:
        if self.minimum_jobs > self.maximum_jobs:
            raise ValueError(
                f"minimum_jobs ({self.minimum_jobs}) is above maximum_jobs ({self.maximum_jobs})"
            )
        return self


@dataclass(frozen=True, slots=True)
class WorkerHost:
    """What a job gets, or what this machine has."""

    cores: int
    gpus: int
    gib: int = 16
    """Memory of a job."""
    seconds: int = 4 * 3600
    """Walltime of a job; its workers hand their work over and end before it."""
    partition: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    """Shell lines before the worker starts."""
    python: str | None = None
    """Python on the nodes, as words of shell; None for the one that this runs in."""

    @property
    def workers(self) -> int:
        """One for each GPU, or for every four cores."""
        return min(self.gpus, self.cores) or -(-self.cores // CORES_PER_WORKER)

    def threads(self, workers: int) -> int:
        """Of each of so many workers."""
        return max(1, self.cores // workers)
