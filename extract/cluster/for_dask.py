"""`extract --engine dask`: what a site file says, as dask's classes want it said."""

import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from math import ceil
from pathlib import Path

import torch

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline
from extract.cluster.site import FoundSite, Site, find_site
from extract.cluster.tasks import environment as own_variables
from extract.engines.cores import usable_cores
from extract.engines.over_dask.engine import DaskEngine
from extract.engines.over_dask.settings import WorkerHost
from extract.extraction import Engine
from extract.planning.config import ExtractSection

CORES, GIB, SECONDS = 4, 16, 4 * 3600
"""Of a job, where the site does not say them."""
UNITS = {"K": 1 / 2**20, "M": 1 / 2**10, "": 1 / 2**10, "G": 1, "T": 2**10}


def dask_engine(
    pipeline: Pipeline, section: ExtractSection, site: Path | None, scheduler: str | None
) -> Engine:
    """The engine that gives the volumes to the workers of a dask scheduler.

    Args:
        pipeline: Says where the run folder is, which the nodes see too.
        section: Its `extract` section.
        site: The site file, if one was named.
        scheduler: Address of a scheduler that somebody has started, instead of starting one.

    Raises:
        ConfigError: If the site file says something that cannot be meant, or dask is not installed.
    """
    for package in ("distributed", "dask_jobqueue"):
        if find_spec(package) is None:
            raise ConfigError(f"--engine dask needs {package}: pip install 'slicecache[cluster]'")
    found = find_site(site)
    host = worker_host(found, section.device == "cpu")
    return DaskEngine(found.site.dask, host, scheduler, pipeline.folder() / "extract")


def worker_host(found: FoundSite, cpu_only: bool) -> WorkerHost:
    """What a job gets, or what this machine has, for workers on it.

    Args:
        found: The site's settings.
        cpu_only: Whether the pipeline wants no GPU.
    """
    site = found.site
    if site.dask.cluster == "local":
        return WorkerHost(usable_cores(), 0 if cpu_only else torch.cuda.device_count())
    slurm = site.dask.cluster == "slurm"
    has_gpu = site.gpu is not None and not cpu_only
    gpus = int(has_gpu) if site.dask.gpus is None else site.dask.gpus
    options = [site.gpu] * bool(has_gpu and gpus) + [f"--qos={site.qos}"] * (site.qos is not None)
    return WorkerHost(
        cores=site.cpus or CORES,
        gpus=gpus,
        gib=GIB if site.memory is None else gib_of(site.memory),
        seconds=SECONDS if site.time is None else seconds_of(site.time),
        partition=site.partition,
        account=site.account,
        directives=tuple(filter(None, (*options, *site.directives))) if slurm else (),
        prologue=tuple(_prologue(site)),
        python=_python(found),
    )


def _prologue(site: Site) -> Iterator[str]:
    """Modules, variables and the site's own lines, in this order."""
    if site.modules:
        yield "type module >/dev/null 2>&1 || . /etc/profile"
    yield from (f"module load {shlex.quote(name)} || exit 3" for name in site.modules)
    variables = own_variables() | dict(site.environment)
    yield from (f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    yield from site.setup


def _python(found: FoundSite) -> str | None:
    """What runs Python on the nodes: the site's own words, that of the container, or None for this one.

    Raises:
        ConfigError: If the site says how `slicecache` is called there, and not how Python is.
    """
    site = found.site
    if site.dask.python is not None:
        return shlex.join(site.dask.python)
    if found.image is not None:
        runner = site.container_command or ("apptainer", "exec", *(["--nv"] if site.gpu else []))
        return shlex.join([*runner, str(found.image), "python"])
    if site.command is not None:
        raise ConfigError(
            f"{found.source} says `command`, by which the nodes call slicecache; workers of dask need "
            "`dask: {python: [...]}`, by which they call its Python"
        )
    return None


def gib_of(memory: str) -> int:
    """Whole GiB of an amount as Slurm writes it: `32G`, `32000M`, `32000`."""
    number, unit = memory.rstrip("KMGT"), memory[-1:] if memory[-1:].isalpha() else ""
    return max(1, ceil(int(number) * UNITS[unit]))


def seconds_of(time: str) -> int:
    """Seconds of a limit as Slurm writes it: `90`, `90:00`, `1:30:00`, `1-12`, `1-12:00:00`."""
    days, _, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    # Without days a lone number is minutes and two are minutes and seconds; after them it begins with hours.
    hours = parts if days or len(parts) == 3 else [0, *parts]
    whole = [*hours, 0, 0][:3]
    return 86400 * int(days or 0) + 3600 * whole[0] + 60 * whole[1] + whole[2]
