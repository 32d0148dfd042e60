"""The paper kit: kept when a verb is done, and made from its folder, now or whenever `report` is called."""

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import TemplateError

from aggregate.common.artefacts import csv_text, write_bytes, write_json, write_text
from aggregate.common.run_folder import (
    CAPTIONS,
    CHECKLIST,
    CONFIG,
    FIGURES,
    KEPT,
    LOCK,
    METHODS,
    METRICS_FILE,
    PAIRS,
    REFERENCES,
    REPORT,
    TABLES,
    verb_folder,
)
from aggregate.paper.bibliography import bibtex, cited
from aggregate.paper.captions import captions
from aggregate.paper.checklist import checklist_page
from aggregate.paper.document import methods
from aggregate.paper.finished import Finished, read_bytes, read_finished
from aggregate.paper.lock import lock_text
from aggregate.paper.tables.every import tables
from aggregate.report.figures.drawing import STYLE, Drawing
from aggregate.report.figures.redraw import read_back, redrawn
from aggregate.report.pages.kept import drawings_in, figures_in, plain, restored
from aggregate.report.pages.rendering import rendered, whole
from cache_schema.common.errors import ConfigError
from cache_schema.format.header import Header

TEMPLATES = {
    "train": "training.html",
    "evaluate": "evaluation.html",
    "explain": "explanation.html",
    "ablate": "ablation.html",
    "detect": "detection.html",
}
"""By verb."""
ODD = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What is raised by numbers and words that are not those of a run."""
NAME_CHARACTERS = 80


def leave_kit(
    folder: Path,
    verb: str,
    content: dict[str, Any],
    headers: Mapping[str, Header],
    also: Sequence[Drawing] = (),
) -> None:
    """Keep what the report shows, and make the kit.

    Args:
        folder: Of the verb, with all its files but these, the report among them.
        verb: Whose.
        content: What the report shows.
        headers: Of its stores, by name.
        also: Figures that stand beside the report and not in it.
    """
    drawings = {drawing.name: drawing for drawing in (*drawings_in(content), *also)}
    for drawing in drawings.values():
        (folder / FIGURES).mkdir(exist_ok=True)
        write_text(_figure(folder, drawing.name, "csv"), csv_text(drawing.table))
    page = {name: value for name, value in plain(content).items() if name != "config"}
    kept = {
        "verb": verb,
        "page": page,
        "also": [plain(drawing) for drawing in also],
        "headers": {name: header.model_dump(mode="json") for name, header in headers.items()},
    }
    write_json(folder / KEPT, kept)
    write_text(folder / LOCK, lock_text())
    write_kit(read_finished(folder, verb), drawings, (folder / REPORT).read_text(encoding="utf-8"))


def remake(folder: Path, verb: str) -> Finished:
    """Make report and kit again from a verb's folder alone.

    Raises:
        ConfigError: If a file that they are made from is missing or cannot be read.
    """
    for place in (folder, folder / FIGURES, folder / TABLES):
        if place.is_symlink():
            raise ConfigError(f"{str(place)!r} is a link: what is made again would be written elsewhere")
    run = read_finished(folder, verb)
    drawings = redrawn_figures(run)
    page = page_again(run, drawings) if run.kept else ""
    if run.kept:
        write_text(folder / REPORT, page)
    try:
        write_kit(run, drawings, page)
    except ODD as error:
        raise ConfigError(
            f"{str(folder)!r} does not hold what {verb} leaves ({type(error).__name__}: {error}); run "
            f"slicecache {verb} again"
        ) from error
    return run


def redrawn_figures(run: Finished) -> dict[str, Drawing]:
    """Every figure of a folder again, from its table.

    Raises:
        ConfigError: If one cannot be drawn.
    """
    found = {}
    for entry in figures_in([run.kept.get("page"), run.kept.get("also")]):
        name, kind, facts = str(entry.get("name")), str(entry.get("kind")), entry.get("facts") or {}
        path = _figure(run.folder, name, "csv")
        try:
            found[name] = redrawn(kind, name, read_back(read_bytes(path)), facts)
        except ODD as error:
            raise ConfigError(
                f"cannot draw the figure {name!r} from {str(path)!r} ({type(error).__name__}: {error}); run "
                f"slicecache {run.verb} again"
            ) from error
    return found


def page_again(run: Finished, drawings: Mapping[str, Drawing]) -> str:
    """The report as text.

    Raises:
        ConfigError: If what is kept of it is not what a report is made of.
    """
    try:
        page = restored(run.page, drawings)
        config = read_bytes(run.folder / CONFIG).decode() if run.config else ""
        return rendered(TEMPLATES[run.verb], {**page, "config": whole(config)})
    except (TemplateError, *ODD) as error:
        raise ConfigError(
            f"{str(run.folder / KEPT)!r} does not hold a report of {run.verb} ({error}); run slicecache "
            f"{run.verb} again"
        ) from error


def write_kit(run: Finished, drawings: Mapping[str, Drawing], page: str) -> None:
    """Figures as SVG and PDF with their captions in `page`, tables, methods, references and checklist."""
    for name, drawing in drawings.items():
        write_text(_figure(run.folder, name, "svg"), drawing)
        write_bytes(_figure(run.folder, name, "pdf"), pdf(drawing))
    if drawings:
        files = {_figure(run.folder, name, "svg").stem: drawing for name, drawing in drawings.items()}
        write_text(run.folder / FIGURES / CAPTIONS, captions(page, files))
    write_tables(run)
    text = methods(run)
    write_text(run.folder / METHODS, text)
    write_text(run.folder / REFERENCES, bibtex(cited(text)))
    if run.verb != "explain":  # an item of the training's checklist, and no study by itself
        write_text(run.folder / CHECKLIST, checklist_page(run))


def write_tables(run: Finished) -> None:
    """Tables as LaTeX and CSV; those of an earlier run go, so that they cannot pass for this one's."""
    folder, made = run.folder / TABLES, tables(run)
    files = {f"{table.name}.tex": table.latex() for table in made}
    files |= {f"{table.name}.csv": table.csv() for table in made}
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.suffix in (".tex", ".csv") and path.name not in files:
            path.unlink()
    for name, text in files.items():
        write_text(folder / name, text)


def pdf(drawing: Drawing) -> bytes:
    """A figure as PDF: the same bytes from the same numbers, letters as text."""
    buffer = io.BytesIO()
    nothing = {"CreationDate": None, "Creator": None, "Producer": None}
    with matplotlib.rc_context({**STYLE, "pdf.fonttype": 42}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        drawing.figure.savefig(buffer, format="pdf", metadata=nothing)
    return buffer.getvalue()


def _figure(folder: Path, name: str, ending: str) -> Path:
    """Where a figure's file lies; a name has nothing that leaves the folder."""
    safe = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name)
    return folder / FIGURES / f"{safe[:NAME_CHARACTERS] or 'figure'}.{ending}"


def finished_folders(run_folder: Path, verbs: Iterable[str]) -> list[tuple[str, Path]]:
    """Verb and folder of everything that came to its end in a run folder, contrasts included."""
    found = []
    for verb in verbs:
        place = verb_folder(run_folder, verb)
        ended = [place / METRICS_FILE, *sorted(place.glob(f"{PAIRS}/*/{METRICS_FILE}"))]
        found += [(verb, path.parent) for path in ended if path.is_file()]
    return found
