"""Options of `predict` and of pages, and what comes of them."""

from pathlib import Path
from typing import Annotated

import typer

from cache_schema.common.errors import ConfigError

BundlePlace = Annotated[
    Path,
    typer.Argument(metavar="BUNDLE", help="A run folder, a verb's folder in it, or the bundle's own folder."),
]
MaybeStore = Annotated[
    str | None,
    typer.Argument(
        metavar="[STORE]",
        show_default=False,
        help="A folder, a zip, an .h5 or a URL. With --images it is made, or gone on with; by default beside "
        "--out.",
    ),
]
ImagePlaces = Annotated[
    list[str] | None,
    typer.Option(
        "--images",
        metavar="PATH",
        help="Embed these first, as the bundle's training was: a BIDS folder, a manifest, or an image file "
        "(repeatable). What is there already is skipped.",
    ),
]
CheckpointFolder = Annotated[
    Path | None,
    typer.Option(
        "--backbone",
        metavar="FOLDER",
        help="With --images: the checkpoint, where it is not where it was at training.",
    ),
]
SetExtract = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        default_factory=list,
        show_default=False,
        help="With --images: what a pipeline would say below extract, e.g. input.suffix=T2w or workers=4; "
        "may be said again.",
    ),
]
PeopleTable = Annotated[
    Path | None,
    typer.Option(
        "--cohort",
        metavar="TABLE",
        help="A bundle whose training was harmonised: everybody's site, age and sex (or what else it "
        "preserved), as CSV or TSV.",
    ),
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
PagesOf = Annotated[
    str | None,
    typer.Option(
        "--pages",
        metavar="N",
        show_default=False,
        help="How many participants get a page of their own, the most telling ones, or all; 12 by default.",
    ),
]
WithViewer = Annotated[
    bool,
    typer.Option(
        "--viewer",
        help="Also write viewer.html: images and maps of the participants with a page, to click through in "
        "three planes. It holds the images themselves.",
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


def embedded_place(store: str | None, out: Path | None, maps: Path | None) -> tuple[str, Path | None]:
    """Where images are embedded to, and the folder of what is left beside; None for the store's own choice.

    As was said, or beside what is written, or in the current folder.
    """
    if store is not None:
        return store, None
    name = out.with_suffix("") if out is not None else maps or Path("predict")
    folder = name.with_name(f"{name.name}-images")
    return str(folder / "cache.zarr"), folder
