"""The command `report`: everything for people of a finished run again, from its folder alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.command import say
from cache_schema.common.terminal.options import AsJson

if TYPE_CHECKING:
    from aggregate.paper.finished import Finished

RunPlace = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run folder, or a verb's folder in it.", readable=False),
]


def report(run: RunPlace, as_json: AsJson = False) -> int:
    """Make report, figures, tables, methods and references of RUN again, from its folder alone.

    Neither the store nor images are needed. Where nothing has changed every file stays, byte for byte. Of a
    simulated cohort it says first what was planted, what was found, what chance gives and what was saved.
    """
    made = report_run(run)
    if as_json:
        typer.echo(json.dumps({"folders": [{"verb": one.verb, "folder": str(one.folder)} for one in made]}))
        return 0
    lines = [
        f"{one.verb}: {one.folder}"
        + ("" if one.kept else " (from before reports were kept: report.html stays as it is)")
        for one in made
    ]
    from aggregate.common.run_folder import INDEX

    root = run_folder_of_place(run)
    first = told(root)
    say("\n".join([*first, *([""] if first else []), *lines, str(root / INDEX)]))
    return 0


def told(run_folder: Path) -> list[str]:
    """The first lines of a run whose truth is known."""
    from aggregate.report.text.headlines import headlines

    return [f"{line.name + ':':<11}{line.sentence}" for line in headlines(run_folder)]


def report_run(place: Path) -> "list[Finished]":
    """Make all of it again, and the index.

    Args:
        place: A run folder, or a verb's folder in it.

    Raises:
        ConfigError: If nothing finished is there, something that it is made from cannot be read, or the extra
            that draws is not installed.
    """
    if not place.is_dir():
        raise ConfigError(f"there is no folder {str(place)!r}; give a run folder, or a verb's folder in it")
    try:
        from aggregate.paper.kit import TEMPLATES, finished_folders, remake
        from aggregate.report.pages.index import write_index
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"report needs {error.name}, which is not installed: pip install 'slicecache[report]'"
        ) from error
    root = run_folder_of_place(place)
    found = [one for one in finished_folders(root, TEMPLATES) if place in (one[1], *one[1].parents)]
    if not found:
        raise ConfigError(
            f"{str(place)!r} holds nothing finished: there is no metrics.json in "
            f"{', '.join(f'{verb}/' for verb in TEMPLATES)}"
        )
    made = [remake(folder, verb) for verb, folder in found]
    write_index(root)
    return made


def run_folder_of_place(place: Path) -> Path:
    """The run folder of a run folder or of a verb's folder in it."""
    from aggregate.common.run_folder import METRICS_FILE, VERBS

    return place.parent if place.name in VERBS and (place / METRICS_FILE).is_file() else place
