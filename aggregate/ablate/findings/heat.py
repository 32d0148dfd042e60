"""The numbers of a heat map: the primary metric over two numeric axes, a panel per remaining value."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate.ablate.findings.compare import Row
from aggregate.ablate.grid.expand import Study, short


@dataclass(frozen=True, slots=True)
class Panel:
    """One heat map."""

    title: str
    """The values of the other axes; empty when there are none."""
    values: NDArray[np.float64]
    """Mean primary metric (value of y, value of x); NaN where the grid has no such point."""


@dataclass(frozen=True, slots=True)
class Heat:
    """All panels over the same two axes."""

    x: str
    y: str
    x_values: tuple[float, ...]
    y_values: tuple[float, ...]
    panels: tuple[Panel, ...]


def heat_of(study: Study, rows: Sequence[Row]) -> Heat | None:
    """Panels, if the grid has exactly two numeric axes of several values; None otherwise."""
    points = {c.name: c.point for c in study.configurations if c.point is not None}
    judged = {row.name: row.judged.value for row in rows}
    paths = list(dict.fromkeys(path for point in points.values() for path in point))
    axes = {path: _values(path, list(points.values())) for path in paths}
    axes = {path: values for path, values in axes.items() if len(values) > 1}
    numeric = [path for path, values in axes.items() if all(_is_number(value) for value in values)]
    if len(numeric) != 2:
        return None
    y, x = numeric
    others = [path for path in axes if path not in numeric]
    panels = [
        _panel(points, judged, (x, y), axes, dict(zip(others, values, strict=True)))
        for values in itertools.product(*(axes[path] for path in others))
    ]
    return Heat(short(x, paths), short(y, paths), tuple(axes[x]), tuple(axes[y]), tuple(panels))


def _values(path: str, points: Sequence[dict[str, Any]]) -> list[Any]:
    """Values of an axis: numbers in order, others as they come."""
    # By their spelling, since a value may be a list.
    found = list({repr(point[path]): point[path] for point in points if path in point}.values())
    return sorted(found) if all(_is_number(value) for value in found) else found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _panel(
    points: dict[str, dict[str, Any]],
    judged: dict[str, float],
    over: tuple[str, str],
    axes: dict[str, list[Any]],
    fixed: dict[str, Any],
) -> Panel:
    x, y = over
    values = np.full((len(axes[y]), len(axes[x])), np.nan)
    for name, point in points.items():
        inside = x in point and y in point and all(point.get(path) == value for path, value in fixed.items())
        if inside:
            values[axes[y].index(point[y]), axes[x].index(point[x])] = judged[name]
    return Panel(", ".join(f"{short(path, [*axes])} {value}" for path, value in fixed.items()), values)
