"""Options of `extract` that say where it runs."""

from collections.abc import Mapping
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
TAKEN_BY: dict[str, tuple[EngineName, ...]] = {
    "--site": ("slurm", "dask"),
    "--dry-run": ("slurm",),
    "--no-pack": ("slurm",),
    "--scheduler": ("dask",),
}
"""Options of one engine or another."""


def refuse_elsewhere(engine: EngineName, given: Mapping[str, object]) -> None:
    """Options that say nothing to an engine are a mistake.

    Args:
        engine: What runs it.
        given: What was typed of `TAKEN_BY`, and of `--shard`.

    Raises:
        ConfigError: If so.
    """
    for option, engines in TAKEN_BY.items():
        if given[option] and engine not in engines:
            theirs = " or ".join(f"--engine {name}" for name in engines)
            raise ConfigError(f"{option} says nothing to --engine {engine}: add {theirs}")
    if given["--shard"] and engine != "local":
        raise ConfigError(f"--shard is for one process of its own; --engine {engine} divides the work itself")
