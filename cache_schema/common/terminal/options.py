"""Arguments and options that more than one verb has, each declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cache_schema.common.prove import Prove

# `readable` would have it that a file which may not be read is a mistake on the command line.
PipelineFile = Annotated[
    Path, typer.Argument(metavar="PIPELINE", help="The pipeline file (YAML).", readable=False)
]
StorePlace = Annotated[str, typer.Argument(metavar="STORE", help="A folder, a zip, an .h5 or a URL.")]
SetValues = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        default_factory=list,
        show_default=False,
        help="Override a value of the pipeline, e.g. aggregate.loss.supcon=0.5; may be said again.",
    ),
]
ProveWith = Annotated[
    Prove | None,
    typer.Option(
        "--prove",
        help="Hold numbers to the crc32c in their records as they are read (the default, nearly free), or to "
        "the SHA-256.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else.")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Check everything, say what would be done and stop.")]
ShuffleLabels = Annotated[
    int,
    typer.Option(
        "--shuffle-labels",
        min=0,
        metavar="N",
        show_default=False,
        help="Also train on N permutations of the labels: what chance gives, with a p-value.",
    ),
]
TimeEpoch = Annotated[
    bool,
    typer.Option(
        "--time-epoch",
        help="Afterwards embed one fold's training part once more and keep nothing, so that the index says "
        "what the store saves.",
    ),
]
AllowCustom = Annotated[
    bool,
    typer.Option(
        "--allow-custom",
        help="Import the custom parts that the bundle names: they are code, run only what you trust. They "
        "are looked for among installed packages and in the current folder.",
    ),
]
PoolEngine = Annotated[
    Literal["local", "dask"],
    typer.Option(
        "--engine", help="Where volumes are scored: in this process, or on the workers of a dask scheduler."
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
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        show_default=False,
        help="With --engine dask: the scheduler to use, e.g. tcp://10.0.0.1:8786, instead of starting one.",
    ),
]


def with_proof(overrides: list[str], prove: Prove | None) -> list[str]:
    """Overrides of a pipeline with what `--prove` says."""
    return overrides if prove is None else [*overrides, f"cache.prove={prove}"]
