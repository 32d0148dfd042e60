"""Options of `predict`."""

from pathlib import Path
from typing import Annotated

import typer

BundlePlace = Annotated[
    Path,
    typer.Argument(metavar="BUNDLE", help="A run folder, a verb's folder in it, or the bundle's own folder."),
]
LabelTable = Annotated[
    Path | None, typer.Option("--out", metavar="CSV", help="Write a CSV here, not on standard output.")
]
Maps = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="A bundle of detectors: also write NIfTI anomaly maps into this folder."
    ),
]
BesideStores = Annotated[
    list[str] | None,
    typer.Option(
        "--beside",
        metavar="NAME=STORE",
        help="A bundle that reads from several stores: where the other of that name lies; repeatable.",
    ),
]
AllowUnlike = Annotated[
    bool,
    typer.Option(
        "--allow-unlike-reference",
        help="A bundle of detectors: score volumes of another contrast or kind of foreground all the same.",
    ),
]
