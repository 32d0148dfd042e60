"""A table as input: one row per volume, with a path and whose it is.

`participant_id, session_id, path[, volume_id, contrast, foreground_path, orientation, spacing_mm]`, under
other names by `columns`. A path is a file, or `file.h5:/dataset`. Further columns are ignored, so that the
cohort's table may be the manifest.
"""

import difflib
import os
import unicodedata
from collections import Counter
from pathlib import Path

from pydantic import ValidationInfo, field_validator

from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import Strict, later
from cache_schema.common.text.yaml_text import in_one_line
from cache_schema.format.identity import VolumeKey
from extract.sources.candidate import (
    Candidate,
    bids_parts,
    contrast_of,
    entities_of,
    source_name,
)
from extract.sources.cells import axis_codes, located_file, name_of, split_dataset, voxel_sizes
from extract.sources.table import TextRow, is_empty, read_text_table

DEFAULTS = {
    "participant": "participant_id",
    "session": "session_id",
    "path": "path",
    "volume": "volume_id",
    "contrast": "contrast",
    "foreground": "foreground_path",
    "orientation": "orientation",
    "spacing": "spacing_mm",
}

LIKELY = {
    "participant": (
        "participant",
        "participant id",
        "participantid",
        "ptid",
        "subject",
        "subject_id",
        "subject id",
        "sub",
        "subjectid",
        "patient_id",
        "patient id",
        "patientid",
        "rid",
        "id",
        "ixi_id",
        "patient",
    ),
    "path": ("file", "filename", "filepath", "file_path", "image", "image_path", "nifti", "t1", "t1_path"),
}
"""What such columns are called elsewhere, for the hint; never used without being told."""


class Columns(Strict):
    """Names of the table's columns; what is not named has its default name, in any case of letters."""

    participant: str | None = None
    """Whose volume it is; `participant_id` by default, e.g. `PTID`."""
    session: str | None = None
    """Of which visit; `session_id` by default, e.g. `VISCODE`."""
    path: str | None = None
    """The image, relative to the table, or `file.h5:/dataset`; `path` by default, e.g. `file`."""
    volume: str | None = None
    """What tells volumes of a session apart; `volume_id` by default, e.g. `series`."""
    contrast: str | None = None
    """What kind of image it is; `contrast` by default, e.g. `sequence`."""
    foreground: str | None = None
    """A mask of the foreground, relative to the table; `foreground_path` by default, e.g. `mask`."""
    orientation: str | None = None
    """Axis codes of images that do not say them (`RAS`); `orientation` by default, e.g. `axes`."""
    spacing: str | None = None
    """Voxel sizes of images that do not say them, in mm; `spacing_mm` by default, e.g. `voxel_mm`."""


class ManifestInput(Strict):
    """`{manifest: TABLE, columns: {participant: PTID, session: VISCODE, path: file}}`."""

    manifest: Path
    """A table with a row per volume: CSV, TSV, .xlsx or Parquet, e.g. `volumes.csv`."""
    columns: Columns = Columns()
    """What its columns are called, where not as usual, e.g.
    `{participant: PTID, session: VISCODE, path: file}`."""
    sheet: str | None = later(None)
    """Of a workbook that has several, e.g. `volumes`."""
    row_is_participant: bool = False
    """Every row is another participant, named by its file; only for tables without a participant column."""

    @field_validator("row_is_participant")
    @classmethod
    def _one_way(cls, value: bool, info: ValidationInfo) -> bool:
        columns = info.data.get("columns")
        if value and columns is not None and columns.participant is not None:
            raise ValueError("row_is_participant and columns.participant contradict each other")
        return value


def find_manifest(spec: ManifestInput, base: Path) -> tuple[list[Candidate], list[str]]:
    """Every volume of the table, sorted by key, and notes on rows that name none.

    Args:
        spec: The table and its columns.
        base: Folder that a relative table path starts from; paths inside start from the table's folder.

    Raises:
        ConfigError: If the table, a column or a cell is not what it must be.
    """
    table = base / os.path.expanduser(spec.manifest)
    names, rows = read_text_table(table, spec.sheet)
    columns = find_columns(spec, names, table)
    with_file = [
        (number, row) for number, row in enumerate(rows, start=2) if not is_empty(row[columns["path"]])
    ]
    notes = []
    if len(with_file) < len(rows):
        notes.append(
            f"{len(rows) - len(with_file)} of {len(rows)} rows of {table.name} have no {columns['path']}"
        )
    if not with_file:
        raise ConfigError(f"no row of {str(table)!r} has a {columns['path']}")
    places = [
        (located_file(file, table.parent), dataset)
        for file, dataset in (split_dataset(row[columns["path"]]) for _, row in with_file)
    ]
    participants = (
        [filled_cell(row, columns["participant"], number, table) for number, row in with_file]
        if "participant" in columns
        else names_of_files(places, table)
    )
    found = [
        candidate_of_row(participant, row, place, columns, table, number)
        for participant, (number, row), place in zip(participants, with_file, places, strict=True)
    ]
    return sorted(found, key=lambda each: (each.key, each.source)), notes


def find_columns(spec: ManifestInput, names: list[str], table: Path) -> dict[str, str]:
    """Role -> the table's own column name, for every role that the table has.

    Raises:
        ConfigError: If a named column, the path or the participant is not there.
    """
    folded = {name.lower(): name for name in reversed(names)}
    columns: dict[str, str] = {}
    for role, default in DEFAULTS.items():
        asked = getattr(spec.columns, role)
        name = asked if asked in names else folded.get((asked or default).lower())
        if name is not None:
            columns[role] = name
        elif asked is not None:
            raise ConfigError(f"columns.{role}: {str(table)!r} has no column {asked!r}{_near(asked, names)}")
    if "path" not in columns:
        raise ConfigError(_missing("path", spec, columns, names, table))
    if spec.row_is_participant and "participant" in columns:
        raise ConfigError(
            f"{str(table)!r} has the column {columns['participant']!r}, so row_is_participant cannot be meant"
        )
    if "participant" not in columns and not spec.row_is_participant:
        raise ConfigError(_missing("participant", spec, columns, names, table))
    return columns


def _near(asked: str, names: list[str]) -> str:
    near = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(names)}"


def _missing(role: str, spec: ManifestInput, columns: dict[str, str], names: list[str], table: Path) -> str:
    """The sentence for a column that must be there, with all that is to be said at once.

    Args:
        role: That nothing has.
        spec: What is said already.
        columns: Found so far, by role.
        names: Of the table's columns.
        table: The table.
    """
    folded = {name.lower(): name for name in reversed(names)}
    lacking = [each for each in LIKELY if each not in columns]
    if spec.row_is_participant:
        lacking.remove("participant")
    said = spec.columns.model_dump(exclude_none=True)
    said |= {each: next((folded[n] for n in LIKELY[each] if n in folded), "NAME") for each in lacking}
    told = in_one_line(said)
    ways = f'say which it is, e.g. `input: {{columns: {told}}}`, or --set "extract.input.columns={told}"'
    if role == "participant":
        ways += ", or `row_is_participant: true` if every row is another participant"
    return f"{str(table)!r} has no column {DEFAULTS[role]!r} (it has {', '.join(names)}): {ways}"


def filled_cell(row: TextRow, column: str, number: int, table: Path) -> str:
    """A cell that must not be empty.

    Raises:
        ConfigError: If it is.
    """
    if is_empty(row[column]):
        raise ConfigError(f"row {number} of {str(table)!r} has an empty {column}")
    return row[column]


def names_of_files(places: list[tuple[Path, str]], table: Path) -> list[str]:
    """A participant id per row from its file: its name, or with the folder's where names repeat.

    Raises:
        ConfigError: If even that does not tell the rows apart.
    """
    for ids in (
        [name_of(path, dataset) for path, dataset in places],
        [f"{path.parent.name}_{name_of(path, dataset)}" for path, dataset in places],
    ):
        if len(set(ids)) == len(ids):
            return ids
    repeated = Counter(ids).most_common(1)[0][0]
    raise ConfigError(f"row_is_participant: several rows of {str(table)!r} name a file {repeated!r}")


def candidate_of_row(
    participant: str,
    row: TextRow,
    place: tuple[Path, str],
    columns: dict[str, str],
    table: Path,
    number: int,
) -> Candidate:
    """One row as a candidate; its place is a file and, for HDF5, the dataset inside."""
    path, dataset = place

    def value(role: str) -> str:
        text = row[columns[role]] if role in columns else ""
        return "" if is_empty(text) else text

    name = name_of(path, dataset)
    parts, suffix = bids_parts(name) if name.startswith("sub-") else ({}, "")
    contrast = value("contrast") or suffix or contrast_of(name)
    rest = [f"{label}-{text}" for label, text in parts.items() if label not in ("sub", "ses")]
    derived = "_".join([*rest, suffix]).strip("_") if suffix else name
    foreground = value("foreground")
    refuse_control_characters(row, columns, number, table)
    return Candidate(
        key=VolumeKey(participant, value("session"), value("volume") or value("contrast") or derived),
        path=path,
        source=source_name(path, table.parent) + (f":{dataset}" if dataset else ""),
        entities=entities_of(parts, contrast),
        foreground_path=located_file(foreground, table.parent) if foreground else None,
        orientation=axis_codes(value("orientation"), number, table),
        dataset=dataset,
        spacing_mm=voxel_sizes(value("spacing"), number, table),
        given=row[columns["path"]],
    )


def refuse_control_characters(row: TextRow, columns: dict[str, str], number: int, table: Path) -> None:
    """Ids and paths are one line of letters; a NUL or a line break in one is a broken table.

    Raises:
        ConfigError: Naming the cell.
    """
    for column in columns.values():
        for letter in row[column]:
            if unicodedata.category(letter) == "Cc":
                raise ConfigError(
                    f"row {number} of {str(table)!r} holds a control character, {letter!r}, in {column}: "
                    f"{row[column]!r}"
                )
