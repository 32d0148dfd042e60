"""The five questions of `init`: what an option says is not asked, and what is not asked has a default."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.mistakes import suggest
from extract.init.asking import Ask
from extract.init.columns import Column, find_role, likely_target, read_columns
from extract.init.ids import LABELS, Participants
from extract.init.images import Images, look

USUAL_BACKBONE = "dinov2/small"


@dataclass(frozen=True, slots=True)
class Given:
    """What the options say; None for a question that is left."""

    images: str | None = None
    labels: str | None = None
    target: str | None = None
    backbone: str | None = None
    folder: str | None = None
    participant: tuple[str, ...] = ()
    """Columns of participants that have no usual name: one for whichever table has it, or images' and
    labels'."""


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


def answers(given: Given, ask: Ask) -> Answers:
    """Ask what is left.

    Raises:
        ConfigError: If an answer names what is not there.
    """
    place = given.images or ask("1. Images: a BIDS folder, a table with a path per row, or a store", None)
    participants = Participants(given.participant, ask)
    images = look(place, participants, ask)
    if len(given.participant) > (2 if images.kind == "table" else 1):
        raise ConfigError(
            "--participant names a column of the images' table and one of the labels' table, in this order; "
            f"it is said {len(given.participant)} times for {'two' if images.kind == 'table' else 'one'}"
        )
    labels = given.labels or ask("2. Labels: the table that holds them", _usual_labels(images))
    columns = read_columns(Path(labels).expanduser())
    join = _join([column.name for column in columns], Path(labels).expanduser(), participants)
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


def _join(names: list[str], table: Path, participants: Participants) -> dict[str, str]:
    """The columns of the labels' table that hold ids.

    Raises:
        ConfigError: If no column can be the participant's.
    """
    found = {"participant": participants.column(table, names, LABELS)}
    participants.refuse_unknown(names)
    session = find_role("session", names)
    return {**found, "session": session} if session else found


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
