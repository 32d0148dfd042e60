"""One table: a caption, a head and rows of text."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregate.ablate.findings.tables import escape
from aggregate.report.text.words import METRICS, interval, number
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.cells import safe_cell

WIDEST = 6
"""Measures in one table; the rest follows in a second."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table."""

    name: str
    """Of its files, and of its label: `tab:results`."""
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def latex(self) -> str:
        """A `table` that needs the package booktabs alone."""
        lines = [
            "% Needs \\usepackage{booktabs}.",
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{escape(self.caption)}}}",
            f"\\label{{tab:{self.name}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}",
            "\\toprule",
            _line(self.head),
            "\\midrule",
            *map(_line, self.rows),
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """The same cells."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([safe_cell(cell) for cell in row] for row in (self.head, *self.rows))
        return out.getvalue()


def _line(cells: Sequence[str]) -> str:
    return " & ".join(escape(label(cell, 200)) for cell in cells) + " \\\\"


def measure_tables(name: str, caption: str, rows: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """A row per configuration, a column per measure, as many tables as a page's width asks for."""
    present = [metric for row in rows.values() for metric in row]
    order = [metric for metric in dict.fromkeys([*METRICS, *present]) if metric in present]
    parts = [order[at : at + WIDEST] for at in range(0, len(order), WIDEST)]
    return [
        Table(
            name if index == 0 else f"{name}_{index + 1}",
            caption,
            ("", *(METRICS.get(metric, metric) for metric in part)),
            tuple(
                (called, *(value_cell(row.get(metric)) for metric in part)) for called, row in rows.items()
            ),
        )
        for index, part in enumerate(parts)
    ]


def value_cell(found: Mapping[str, Any] | None) -> str:
    """`0.81 (0.70 to 0.92)`."""
    if not found or found.get("value") is None:
        return "–"
    return number(found["value"]) + (f" ({interval(found)})" if interval(found) else "")
