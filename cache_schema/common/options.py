"""Arguments and options that more than one verb has, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline file (YAML).")]
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
AllowCustom = Annotated[
    bool,
    typer.Option(
        "--allow-custom",
        help="Import the custom parts that the bundle names: they are code, run only what you trust. They "
        "are looked for among installed packages and in the current folder.",
    ),
]
