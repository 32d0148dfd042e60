"""Rows that came out alike, folded into one: what a key of the grid changes, or that it changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aggregate.ablate.findings.claims import row_name
from aggregate.ablate.findings.compare import Row
from aggregate.ablate.grid.expand import short

ALIKE = 4
"""Digits in which rows agree that are drawn as one."""
NAMED = 3
"""Names of rows that are told one by one."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows with the same numbers, in their order."""

    rows: tuple[Row, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Keys in which the rows differ."""
        every = dict.fromkeys(path for row in self.rows for path in row.varied)
        return tuple(path for path in every if len({repr(row.varied.get(path)) for row in self.rows}) > 1)

    @property
    def name(self) -> str:
        """`dinoatten3d supcon=1 (class_variance 0, 0.1 and 1 alike)`, or the rows' own names."""
        first = self.rows[0]
        if len(self.rows) == 1:
            return _called(first)
        if len(self.paths) == 1 and all(self.paths[0] in row.varied for row in self.rows):
            path = self.paths[0]
            called = short(path, list(first.varied))
            *values, last = (str(row.varied[path]) for row in self.rows)
            ending = f" {called}={first.varied[path]}"
            return f"{_called(first).replace(ending, '')} ({called} {', '.join(values)} and {last} alike)"
        names = [_called(row) for row in self.rows[:NAMED]]
        more = len(self.rows) - len(names)
        return " = ".join(names) + (f" = {more} more" if more else "")


def _called(row: Row) -> str:
    """A row as figures call it."""
    return row.label or row_name(row.name)


def folded(rows: Sequence[Row]) -> list[Group]:
    """Rows with the same difference, interval and verdict, each group where its first row stands."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(_numbers(row), []).append(row)
    return [Group(tuple(own)) for own in groups.values()]


def idle_sentences(groups: Sequence[Group]) -> list[str]:
    """`class_variance changes nothing here`, of every key whose values, all else equal, came out alike."""
    rows = [(row.varied, at) for at, group in enumerate(groups) for row in group.rows]
    paths = list(dict.fromkeys(path for varied, _ in rows for path in varied))
    return [f"{short(path, paths)} changes nothing here" for path in paths if _idle(path, rows)]


def _idle(path: str, rows: Sequence[tuple[dict[str, Any], int]]) -> bool:
    """Whether rows that differ in this key alone are always of one group, and there are such rows."""
    else_equal: dict[str, list[int]] = {}
    for varied, at in rows:
        if path in varied:
            rest = repr(sorted((name, repr(value)) for name, value in varied.items() if name != path))
            else_equal.setdefault(rest, []).append(at)
    several = [found for found in else_equal.values() if len(found) > 1]
    return bool(several) and all(len(set(found)) == 1 for found in several)


def _numbers(row: Row) -> Any:
    """By what rows are alike: value, difference and verdict; a configuration and a baseline never are."""
    found, judged = row.difference or {}, row.judged
    told = [found.get(name) for name in ("difference", "ci_low", "ci_high")]
    numbers = [*told, judged.value, judged.low, judged.high]
    shown = tuple(None if value is None else f"{value:.{ALIKE}f}" for value in numbers)
    return (*shown, row.beats_mean_pool, row.versus_mean_pool is None, row.kind)
