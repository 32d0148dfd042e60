"""What a table's columns hold, as far as it takes to offer one as the target."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.terminal.visible import label
from extract.sources.manifest import DEFAULTS, LIKELY
from extract.sources.table import is_empty, read_text_table

MOST_CLASSES = 10
"""More values than this are numbers, or names."""
SHOWN, LONGEST = 4, 30
"""Values of a column that are named, and characters of one."""
LIKELY_SESSION = ("session", "ses", "viscode", "visit", "timepoint")
LIKELY_TARGET = (
    "diagnosis", "dx", "dx_bl", "group", "label", "class", "target", "status", "outcome", "disease",
)  # fmt: skip
CONFOUNDS = ("sex", "gender", "site", "center", "centre", "scanner", "split", "handedness")
"""Columns with few values that somebody seldom means to predict."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    counts: Counter[str]
    """How often each value occurs; empty cells are not counted."""

    @property
    def is_number(self) -> bool:
        """Whether every value is one."""
        return bool(self.counts) and all(_is_number(value) for value in self.counts)

    @property
    def has_classes(self) -> bool:
        """Whether its values may be classes."""
        return 2 <= len(self.counts) <= MOST_CLASSES

    @property
    def may_be_target(self) -> bool:
        """Whether it holds classes or a number."""
        return self.has_classes or (self.is_number and len(self.counts) > 1)

    def words(self) -> str:
        """Its values, for people: `control 30, patient 30`, or `22.1 to 88.9`."""
        if self.is_number and not self.has_classes:
            numbers = sorted(map(float, self.counts))
            return f"{numbers[0]:g} to {numbers[-1]:g}"
        common = [f"{label(value, LONGEST)} {count}" for value, count in self.counts.most_common(SHOWN)]
        return ", ".join([*common, *(["..."] if len(self.counts) > SHOWN else [])])


def read_columns(table: Path) -> list[Column]:
    """The columns of a table.

    Raises:
        ConfigError: If it is none.
    """
    names, rows = read_text_table(table)
    return [
        Column(name, Counter(row[name] for row in rows if not is_empty(row[name]))) for name in names if name
    ]


def likely_target(columns: list[Column], ids: tuple[str, ...]) -> Column | None:
    """The column that is most likely meant: by its name, else the first with classes, else with numbers."""
    fit = [column for column in columns if column.may_be_target and column.name not in ids]
    by_name = [column for name in LIKELY_TARGET for column in fit if column.name.lower() == name]
    others = [column for column in fit if column.name.lower() not in CONFOUNDS]
    classes = [column for column in others if column.has_classes]
    return next(iter([*by_name, *classes, *others]), None)


def find_role(role: str, names: list[str]) -> str | None:
    """The column that is called as participants, sessions or paths usually are."""
    likely = LIKELY.get(role, LIKELY_SESSION)
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[name] for name in (DEFAULTS[role], *likely) if name in by_name), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
