"""Options of `extract` that say where it runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cache_schema.common.errors import ConfigError

EngineName = Literal["local", "slurm", "dask"]

Engine = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="Where it runs: in this process, as a Slurm job array that is written and submitted, or on "
        "the workers of a dask scheduler.",
    ),
]
SiteFile = Annotated[
    Path | None,
    typer.Option(
        "--site",
        metavar="FILE",
        show_default=False,
        help="What the cluster wants said (partition, account, modules, container, ...); else the file that "
        "SLICECACHE_SITE names, else ~/.config/slicecache/site.yaml.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="With --engine slurm: print the scripts and submit nothing.")
]
PackAtTheEnd = Annotated[
    bool,
    typer.Option(
        help="With --engine slurm: let the last task gather the store in few large files, where no volume "
        "failed."
    ),
]


def refuse_elsewhere(engine: EngineName, *, shard: bool, slurms_own: bool) -> None:
    """Options that say nothing to an engine are a mistake.

    Args:
        engine: What runs it.
        shard: Whether one share is asked for.
        slurms_own: Whether something that only Slurm's scripts have is asked for.

    Raises:
        ConfigError: If so.
    """
    if engine == "dask":
        raise ConfigError("--engine dask is not there yet; `--engine local` and `--engine slurm` are")
    if engine != "local" and shard:
        raise ConfigError(f"--shard is for one process of its own; --engine {engine} divides the work itself")
    if engine != "slurm" and slurms_own:
        raise ConfigError("--site, --dry-run and --no-pack say how Slurm is used: add --engine slurm")
