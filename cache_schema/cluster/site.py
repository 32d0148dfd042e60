"""What a cluster wants said, in one file, so that the command stays one line."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from cache_schema.cluster.settings import DaskSettings
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from cache_schema.common.strict import Strict
from cache_schema.common.text.yaml_text import read_yaml

VARIABLE = "SLICECACHE_SITE"
USUAL = Path("~/.config/slicecache/site.yaml")
NAMES = r"^[A-Za-z0-9][A-Za-z0-9_.,:@+/=-]*$"

Name = Annotated[str, StringConstraints(pattern=NAMES, max_length=200)]
"""A word that stands in a directive as it is."""
OPTIONS = r"^--[a-z][a-z0-9-]*(=[A-Za-z0-9_.,:@+/=*&|()\[\]-]+)?$"
Option = Annotated[str, StringConstraints(pattern=OPTIONS, max_length=500)]
"""An option of `sbatch`, e.g. `--gres=gpu:a100:1`."""
Line = Annotated[str, StringConstraints(pattern=r"^[^\n\r]*$", max_length=2000)]
"""A line of shell."""
NodePath = Annotated[str, StringConstraints(pattern=r"^[^\"`\\()\n\r]+$", max_length=500)]
"""A folder of the node, where the node's own variables may stand: `$TMPDIR`."""
Memory = Annotated[str, StringConstraints(pattern=r"^[0-9]+[KMGT]?$")]
Time = Annotated[str, StringConstraints(pattern=r"^([0-9]+-)?[0-9]+(:[0-9]{1,2}){0,2}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]


class Site(Strict):
    """One cluster. What is left out is estimated, or left to the cluster."""

    partition: Name | None = None
    """Of the batch system: its queue, e.g. `gpu`."""
    account: Name | None = None
    """Whose hours they are, e.g. `brain`."""
    qos: Name | None = None
    """Quality of service, where the cluster asks for one, e.g. `long`."""
    gpu: Option | None = "--gres=gpu:1"
    """How one GPU is asked for; null where nodes have none."""
    directives: tuple[Option, ...] = ()
    """Further options of `sbatch` for the tasks that embed, e.g. `[--constraint=nvme]`."""
    cpus: int | None = Field(default=None, ge=1)
    """Per task, e.g. `8`."""
    memory: Memory | None = None
    """Per task, as Slurm writes it, e.g. `48G`."""
    time: Time | None = None
    """Limit of a task, as Slurm writes it, e.g. `"12:00:00"`."""
    tasks: int | None = Field(default=None, ge=1)
    """Parts of the work, each a task of the array, e.g. `16`."""
    max_tasks: int = Field(default=1001, ge=1)
    """Most tasks of an array: Slurm's MaxArraySize, 1001 unless the cluster says otherwise."""
    throttle: int | None = Field(default=None, ge=1)
    """Most tasks at a time, e.g. `20`."""
    warn_seconds: int = Field(default=120, ge=1)
    """So long before its limit a task stops and queues itself again; Slurm may say it a minute earlier."""
    requeues: int = Field(default=10, ge=0)
    """A task that was started again so often, by its limit or a lost node, does not queue itself again."""
    modules: tuple[Line, ...] = ()
    """Loaded one after another by `module load`, e.g. `[cuda/12.4]`."""
    setup: tuple[Line, ...] = ()
    """Lines of shell that come before the command, e.g. `["ulimit -n 4096"]`."""
    environment: Mapping[Variable, Line] = {}
    """Variables that the tasks have, e.g. `{HF_HOME: /project/weights}`."""
    command: tuple[str, ...] | None = None
    """What `slicecache` is on the nodes, as words; by default the Python that this is typed with, e.g.
    `[/opt/slicecache/bin/slicecache]`."""
    container: Path | None = None
    """An image that holds slicecache, relative to this file, e.g. `slicecache.sif`."""
    container_command: tuple[str, ...] | None = None
    """What runs a command in it; `apptainer exec`, with `--nv` where a GPU is asked for, by default, e.g.
    `[apptainer, exec, --nv]`."""
    stage: NodePath | None = None
    """A folder on the node's own disk, e.g. `$TMPDIR`: volumes are copied there before they are read."""
    finish_partition: Name | None = None
    """Where the last task runs, which needs no GPU; `partition` by default, e.g. `cpu`."""
    finish_memory: Memory | None = None
    """Of the last task; by default an estimate, e.g. `16G`."""
    finish_time: Time | None = None
    """Limit of the last task; by default an estimate, e.g. `"2:00:00"`."""
    dask: DaskSettings = DaskSettings()
    """Where the workers of `--engine dask` come from, e.g. `{cluster: slurm, maximum_jobs: 16}`."""


@dataclass(frozen=True, slots=True)
class FoundSite:
    """Settings, and where they came from."""

    site: Site
    path: Path | None
    """None without a file."""

    @property
    def source(self) -> str:
        """For people."""
        return "no site file" if self.path is None else f"site file {str(self.path)!r}"

    def origin(self, name: str, otherwise: str) -> str:
        """Where a setting came from: the file, or what holds where that does not say."""
        return "site file" if name in self.site.model_fields_set else otherwise

    @property
    def image(self) -> Path | None:
        """The container's image as an absolute path."""
        if self.site.container is None or self.path is None:
            return self.site.container
        return self.path.parent / os.path.expanduser(self.site.container)


def find_site(given: Path | None) -> FoundSite:
    """Read `--site FILE`, else the file that the environment names, else the usual one, else the defaults.

    Raises:
        ConfigError: If a file that was named is not there, or says something that cannot be meant.
    """
    named = os.environ.get(VARIABLE)
    if given is None and named:
        given = Path(named)
        if not given.expanduser().is_file():
            raise ConfigError(f"{VARIABLE} names {named!r}, and there is no such file; correct or unset it")
    path = (USUAL if given is None else given).expanduser().absolute()
    if given is None and not path.is_file():
        return FoundSite(Site(), None)
    read = read_yaml(path, f"the site file {str(path)!r}")
    if not isinstance(read, dict | None):
        raise ConfigError(f"the site file {str(path)!r} must hold settings, e.g. `partition: gpu`")
    return FoundSite(validate(Site, read or {}, "the site file"), path)
