"""What one job or machine of workers gets: what a site file says, as dask's classes want it said."""

import os
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from math import ceil

from cache_schema.cluster.cores import usable_cores
from cache_schema.cluster.settings import WorkerHost
from cache_schema.cluster.site import FoundSite, Site
from cache_schema.common.errors import ConfigError

CORES, GIB, SECONDS = 4, 16, 4 * 3600
"""Of a job, where the site does not say them."""
UNITS = {"K": 1 / 2**20, "M": 1 / 2**10, "": 1 / 2**10, "G": 1, "T": 2**10}
HANDED_ON = ("HF_HOME", "HF_HUB_CACHE")
"""Variables that say where weights lie; the scripts state them, so that they also work by hand."""


def require_dask() -> None:
    """Refuse `--engine dask` where it is not installed.

    Raises:
        ConfigError: Naming the first package that is not there.
    """
    for package in ("distributed", "dask_jobqueue"):
        if find_spec(package) is None:
            raise ConfigError(f"--engine dask needs {package}: pip install 'slicecache[cluster]'")


def environment() -> dict[str, str]:
    """Variables of every task: weights come from the disk, since nodes have no internet."""
    kept = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    return {"HF_HUB_OFFLINE": "1", **kept}


def worker_host(found: FoundSite, cpu_only: bool, gpus_here: int = 0) -> WorkerHost:
    """What a job gets, or what this machine has, for workers on it.

    Args:
        found: The site's settings.
        cpu_only: Whether no GPU is wanted.
        gpus_here: Of this machine.

    Raises:
        ConfigError: If the site does not say how Python is called on the nodes.
    """
    site = found.site
    if site.dask.cluster == "local":
        return WorkerHost(usable_cores(), 0 if cpu_only else gpus_here)
    slurm = site.dask.cluster == "slurm"
    has_gpu = site.gpu is not None and not cpu_only
    gpus = 0 if cpu_only else int(has_gpu) if site.dask.gpus is None else site.dask.gpus
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
    variables = environment() | dict(site.environment)
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
