"""The five questions of `init`: what an option says is not asked, and what is not asked has a default."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.visible import label, visible
from cache_schema.common.text.mistakes import suggest
from extract.init.columns import Column, find_role, likely_target, read_columns
from extract.init.images import Images, look

USUAL_BACKBONE = "dinov2/small"

Ask = Callable[[str, str | None], str]
"""A question and its default -> the answer."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the options say; None for a question that is left."""

    images: str | None = None
    labels: str | None = None
    target: str | None = None
    backbone: str | None = None
    folder: str | None = None
    participant: str | None = None
    """Of tables whose column of participants has no usual name: never asked."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a pipeline file is written from; paths as they were given."""

    images: Images
    labels: str
    join: dict[str, str]
    target: Column
    backbone: dict[str, Any] | None
    """None for a store, which has its embeddings."""
    folder: str


def asked(question: str, default: str | None) -> str:
    """Ask on the terminal.

    Raises:
        ConfigError: If nobody answers.
    """
    try:
        answer: str = typer.prompt(visible(question), default=default, err=True)
    except typer.Abort as end:
        raise ConfigError("not all questions were answered, so nothing was written; see init --help") from end
    return answer.strip()


def by_default(question: str, default: str | None) -> str:
    """Answer as `--yes` does.

    Raises:
        ConfigError: If there is no default.
    """
    if default is None:
        raise ConfigError(f"--yes has no answer to {question!r}: say it by its option")
    return default


def answers(given: Given, ask: Ask) -> Answers:
    """Ask what is left.

    Raises:
        ConfigError: If an answer names what is not there.
    """
    place = given.images or ask("1. Images: a BIDS folder, a table with a path per row, or a store", None)
    images = look(place, given.participant)
    labels = given.labels or ask("2. Labels: the table that holds them", _usual_labels(images))
    columns = read_columns(Path(labels).expanduser())
    names = [column.name for column in columns]
    join = _join(names, Path(labels), given.participant)
    target = _target(columns, tuple(join.values()), given.target, ask)
    backbone = None
    if images.kind != "store":
        name = given.backbone or ask(
            "4. Backbone (`slicecache backbone list`, a folder, an id)", USUAL_BACKBONE
        )
        backbone = read_backbone(name)
    usual = str(Path("runs") / (_name_of(images.place) or "first"))
    return Answers(images, labels, join, target, backbone, given.folder or ask("5. Folder of the run", usual))


def read_backbone(name: str) -> dict[str, Any]:
    """A backbone as the file says it: of a listed name, a folder, or a Hugging Face id.

    Raises:
        ConfigError: If it is neither.
    """
    from extract.fetch.names import listed

    known = {other: spec for other, spec, _ in listed()}
    if name in known:
        spec = known[name]
        own = spec.model_dump(mode="json", exclude_defaults=True)
        return {**spec.model_dump(mode="json", include={"kind", "size"}), **own}
    if os.path.isdir(os.path.expanduser(name)):
        return {"kind": "huggingface", "path": name}
    if name.partition("/")[0] in {other.partition("/")[0] for other in known} or name.count("/") != 1:
        raise ConfigError(f"there is no backbone {name!r}{suggest(name, list(known))}")
    return {"kind": "huggingface", "repository": name}


def _usual_labels(images: Images) -> str | None:
    """The table beside the images, or the table that they stand in."""
    if images.kind == "table":
        return images.place
    beside = Path(images.place) / "participants.tsv"
    return str(beside) if images.kind == "bids" and beside.expanduser().is_file() else None


def _join(names: list[str], table: Path, participant: str | None) -> dict[str, str]:
    """`join`, where ids are not called as usual; with all columns that hold ids.

    Raises:
        ConfigError: If no column can be the participant's.
    """
    if participant is not None and participant not in names:
        raise ConfigError(f"{str(table)!r} has no column {participant!r}{suggest(participant, names)}")
    found = {"participant": participant or find_role("participant", names, table)}
    session = find_role("session", names)
    return {role: name for role, name in {**found, "session": session}.items() if name}


def _target(columns: list[Column], ids: tuple[str, ...], name: str | None, ask: Ask) -> Column:
    """The column to predict.

    Raises:
        ConfigError: If there is none of this name, or it holds neither classes nor a number.
    """
    fit = {column.name: column for column in columns if column.may_be_target and column.name not in ids}
    likely = likely_target(columns, ids)
    if name is None:
        listed = "\n".join(f"     {label(column.name)}: {column.words()}" for column in fit.values())
        name = ask(f"3. Target: the column to predict\n{listed}\n  ", likely.name if likely else None)
    if name in fit:
        return fit[name]
    there = {column.name: column for column in columns}
    if name in there:
        held = there[name].words() or "nothing"
        raise ConfigError(f"target: column {name!r} holds {held}: neither some classes nor a number")
    raise ConfigError(f"target: there is no column {name!r}{suggest(name, list(there))}")


def _name_of(place: str) -> str:
    """What a run of these images may be called."""
    name = os.path.basename(os.path.abspath(os.path.expanduser(place)))
    return name.split(".")[0]
