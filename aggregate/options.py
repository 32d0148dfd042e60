"""Options of `predict`."""

from pathlib import Path
from typing import Annotated

import typer

from cache_schema.common.errors import ConfigError

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


def named_stores(given: list[str]) -> dict[str, str]:
    """Locations by name, of what `--beside` was given.

    Raises:
        ConfigError: If one is not NAME=STORE, or a name is there twice.
    """
    named = dict(each.partition("=")[::2] for each in given)
    if len(named) < len(given) or not all(name and place for name, place in named.items()):
        raise ConfigError(f"--beside takes NAME=STORE, each name once, not {' '.join(given)!r}")
    return named
