"""What `join:` may say: how rows of tables find volumes of the store."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from aggregate.common.labels import Label, read_many, read_text_keys
from cache_schema.common.short_forms import reads
from cache_schema.common.strict import Strict

Locate = Callable[[Path], Path]
Width = Annotated[int, Field(ge=1, le=32)]


@reads({"type": "string"}, {"type": "array", "items": {"type": "string"}})
def _same(value: Any) -> Any:
    """Read a column, or a list of them, as columns of one name on both sides."""
    if isinstance(value, str):
        value = [value]
    return {name: name for name in value} if isinstance(value, list | tuple) else value


@reads({"type": "integer", "minimum": 1})
def _participant_alone(value: Any) -> Any:
    """Read a bare width as that of participants."""
    return {"participant": value} if isinstance(value, int) and not isinstance(value, bool) else value


class PadSpec(Strict):
    """Digits that numbers in ids are filled up to with zeros, on both sides: with 3, `1` is `001`."""

    participant: Width | None = None
    """Digits of participant ids, e.g. `3`."""
    session: Width | None = None
    """Digits of session ids, e.g. `2`."""


class MergeSpec(Strict):
    """A further table whose columns are put beside the cohort table's."""

    table: Path
    """CSV, TSV, .xlsx or Parquet, e.g. `scores.csv`."""
    sheet: str | None = None
    """Of a workbook that has several, e.g. `scores`."""
    by: Annotated[dict[str, str], BeforeValidator(_same), Field(min_length=1)]
    """Columns that rows are found by: one name, several, or `{name here: name there}`, e.g.
    `[PTID, VISCODE]`."""
    columns: Annotated[dict[str, str] | None, BeforeValidator(_same)] = None
    """What is taken: names, or `{name there: name here}`; by default everything but `by`, e.g.
    `[MMSE, CDRSB]`."""
    where: str | None = None
    """Condition on the further table's rows, e.g. `phase == 'ADNI3'`."""


class DatesSpec(Strict):
    """When sessions of the store were scanned: the store itself holds no date."""

    bids: Path | None = None
    """A BIDS root: its `sub-*_sessions.tsv`, and `sub-*_scans.tsv` for what has no date there, e.g.
    `data/cohort`."""
    table: Path | None = None
    """Or a table with a row per session (or per image), e.g. `scans.csv`."""
    sheet: str | None = None
    """Of a workbook that has several, e.g. `scans`."""
    participant: str = "participant_id"
    """Its column of the participant's id, e.g. `PTID`."""
    session: str = "session_id"
    """Its column of the session, e.g. `VISCODE`."""
    date: str = "acq_time"
    """Its column of the date, e.g. `EXAMDATE`."""
    format: str | None = None
    """How dates are written; by default ISO's, year-month-day, e.g. `"%m/%d/%Y"`."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.bids is None) == (self.table is None):
            raise ValueError("dates come from either `bids: FOLDER` or `table: FILE`")
        return self


class NearestSpec(Strict):
    """A session's row is the participant's whose date is nearest to the scan."""

    column: str
    """Of the cohort table: a date, e.g. `EXAMDATE`."""
    days: int = Field(ge=0)
    """At most, before or after, e.g. `90`."""


class IdsSpec(Strict):
    """What columns and ids of a table are called, and what stands beside it."""

    rename: dict[str, str] = Field(default_factory=dict)
    """Column of the cohort table -> what it is called in all of the section, e.g. `{DX_bl: diagnosis}`."""
    participant: str = "participant_id"
    """Column of the participant's id."""
    session: str | None = None
    """Column of the session; by default `session_id` where the table has it, e.g. `VISCODE`."""
    strip_prefix: Annotated[tuple[str, ...], BeforeValidator(read_many)] = ()
    """Taken off participant ids on both sides; `sub-` (and `ses-` off sessions) always is, e.g. `[ADNI_]`."""
    ignore: str = ""
    """Characters that do not count in participant ids, e.g. `_-`."""
    pad: Annotated[PadSpec, BeforeValidator(_participant_alone)] = PadSpec()
    """`{participant: 3, session: 2}`; a bare number is the participant's, e.g.
    `{participant: 3, session: 2}`."""
    visits: Annotated[dict[str, Label], BeforeValidator(read_text_keys)] = Field(default_factory=dict)
    """Session code of the table -> session of the store, e.g. `{bl: "M000", "m*": "M*"}`, where `*` stands
    for digits."""
    tables: Annotated[tuple[MergeSpec, ...], BeforeValidator(read_many)] = ()
    """Further tables, merged in turn, e.g. `[{table: scores.csv, by: PTID}]`."""
    ambiguous: Literal["refuse", "leave_out"] = "refuse"
    """What becomes of a volume with several rows: it stops the run, or is left out and listed."""

    @model_validator(mode="after")
    def _codes(self) -> Self:
        for code, session in self.visits.items():
            if code.count("*") > 1 or session.count("*") != code.count("*"):
                raise ValueError(f"visits: {code!r}: {session!r} must have one * on both sides, or none")
        return self

    def located(self, locate: Locate) -> Self:
        """The same with every path made absolute."""
        tables = tuple(each.model_copy(update={"table": locate(each.table)}) for each in self.tables)
        return self.model_copy(update={"tables": tables})


class JoinSpec(IdsSpec):
    """How rows of the table find volumes of the store."""

    order: str | None = None
    """Column that orders the sessions of a participant (age, days, a date); by default they are in order of
    `dates`, and without these in natural order of the session id: `ses-2` comes before `ses-10`, e.g.
    `age`."""
    date_format: str | None = None
    """Of `order` and `nearest`; by default dates are ISO's, year-month-day, e.g. `"%m/%d/%Y"`."""
    dates: DatesSpec | None = None
    """When sessions of the store were scanned, which the store itself does not hold, e.g.
    `{bids: data/cohort}`."""
    nearest: NearestSpec | None = None
    """Instead of a session column, e.g. `{column: EXAMDATE, days: 90}`."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.nearest is not None and self.session is not None:
            raise ValueError("session and nearest exclude each other: sessions are joined by code or by date")
        if self.nearest is not None and self.dates is None:
            raise ValueError(
                "nearest needs dates: the store holds none; e.g. dates: {bids: FOLDER}, or dates: {table: "
                "FILE, participant: COLUMN, session: COLUMN, date: COLUMN}"
            )
        return self

    def located(self, locate: Locate) -> Self:
        """The same with every path made absolute."""
        dates = self.dates
        if dates is not None:
            paths = {name: path for name in ("bids", "table") if (path := getattr(dates, name)) is not None}
            dates = dates.model_copy(update={name: locate(path) for name, path in paths.items()})
        return super().located(locate).model_copy(update={"dates": dates})

    def in_names(self) -> dict[str, Any]:
        """What it says of columns and ids; nothing where files are part of it, which lie on one machine."""
        if self.tables or self.dates is not None:
            return {}
        return self.model_dump(mode="json", exclude_defaults=True)

    def fits(self, columns: Collection[str]) -> bool:
        """Whether a table has every column that it names."""
        renamed = {*columns} - self.rename.keys() | {*self.rename.values()}
        named = {self.participant, self.session, self.order} - {None}
        return self.rename.keys() <= {*columns} and named <= renamed
