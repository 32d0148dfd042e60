"""Options of `extract` that say where it runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

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
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        show_default=False,
        help="With --engine dask: the scheduler to use, e.g. tcp://10.0.0.1:8786, instead of starting one.",
    ),
]
