"""Cohort flow: from the images that were found to the participants that are used, and who was lost where."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from aggregate.cohort.turnout import FAILED, PENDING, kind_of
from aggregate.report.figures.drawing import STYLE, Drawing, svg
from cache_schema.common.terminal.visible import label

MOST_REASONS = 5
"""Reasons that are told one by one at a step; `metrics.json` has all."""
MOST_CLASSES = 12
SIDE_BY_SIDE = 4
"""Classes that have a box each."""
STAGES = ("found", "store", "used")
WIDTH, MAIN_WIDE, OUT_WIDE = 8.6, 3.7, 4.2
"""Inches of the figure, of the boxes on the left and of those on the right."""
LINE, PAD, GAP = 0.21, 0.12, 0.3
"""Inches of a line of text, around a text, and between boxes."""
LETTERS = 44
"""Letters of a line on the right."""


def flow_table(metrics: Mapping[str, Any]) -> pd.DataFrame | None:
    """The numbers of the diagram; None of results that do not say who was left out.

    Args:
        metrics: As in `metrics.json`.

    Returns:
        stage (found, store, used, label), label (what is counted, or the reason of those who leave after the
        stage), n, leaves.
    """
    turnout, left_out = metrics.get("turnout"), metrics.get("left_out")
    if turnout is None or left_out is None:
        return None
    reasons = [(kind_of(str(row["reason"])), bool(row["volume_id"])) for row in left_out]
    lost = Counter(reason for reason, image in reasons if image and reason in (FAILED, PENDING))
    unused = Counter(reason for reason, image in reasons if image and reason not in (FAILED, PENDING))
    rows = Counter(reason for reason, image in reasons if not image)
    committed = int(turnout["volumes"]["committed"])
    used = committed - sum(unused.values())
    if used < 0:
        return None
    found: list[tuple[str, str, int, bool]] = [
        ("found", "images found", committed + sum(lost.values()), False),
        *_leaving("found", lost),
        ("store", "images in the store", committed, False),
        *_leaving("store", unused),
        *_leaving("store", Counter({f"rows of the table: {reason}": n for reason, n in rows.items()})),
        ("used", "images used", used, False),
        ("used", "participants used", int(metrics["n_participants"]), False),
    ]
    found += [("label", str(name), int(n), False) for name, n in (metrics.get("n_per_class") or {}).items()]
    return pd.DataFrame(found, columns=["stage", "label", "n", "leaves"])


def _leaving(stage: str, reasons: Counter[str]) -> list[tuple[str, str, int, bool]]:
    """The commonest reasons, and how many leave for others."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(n for _, n in ordered[MOST_REASONS:])
    told = [*ordered[:MOST_REASONS], *([("other reasons", rest)] if rest else [])]
    return [(stage, reason, n, True) for reason, n in told]


def flow_figure(metrics: Mapping[str, Any]) -> Drawing | None:
    """The diagram of a run, if it says who was left out."""
    table = flow_table(metrics)
    return None if table is None else cohort_flow(table)


def cohort_flow(table: pd.DataFrame) -> Drawing:
    """Boxes from top to bottom, who leaves to the right, classes at the foot.

    Args:
        table: As `flow_table` gives it.
    """
    steps = [(_lines(table, stage, leaves=False), _lines(table, stage, leaves=True)) for stage in STAGES]
    labels = [
        (str(name), int(n)) for _, name, n, _ in table[table["stage"] == "label"].itertuples(index=False)
    ]
    feet = _feet(labels)
    # A step is as high as its box, and its leavers stand beside the arrow to the next one.
    heights = [
        max(_high(main) + GAP, _high(main) / 2 + _high(out) + GAP * (len(out) > 0)) for main, out in steps
    ]
    foot = max((_high(lines) for lines in feet), default=0.0)
    tall = sum(heights) + foot + (0.15 if foot else 0.0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, tall))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, WIDTH), ylim=(tall, 0))
        ax.set_axis_off()
        top, middle = 0.05, 0.15 + MAIN_WIDE / 2
        for place, ((main, out), height) in enumerate(zip(steps, heights, strict=True)):
            _box(ax, 0.15, top, MAIN_WIDE, main, "#0072B2", "center")
            last = place == len(steps) - 1
            bottom = top + _high(main)
            if out:
                side = bottom + GAP / 2
                _box(ax, WIDTH - 0.15 - OUT_WIDE, side, OUT_WIDE, out, "#9ca3af", "left")
                _arrow(ax, (middle, side + _high(out) / 2), (WIDTH - 0.15 - OUT_WIDE, side + _high(out) / 2))
            if not last:
                _arrow(ax, (middle, bottom), (middle, top + height))
            top += height
        wide = (WIDTH - 0.3 - 0.2 * (len(feet) - 1)) / len(feet) if feet else 0.0
        for place, lines in enumerate(feet):
            left = 0.15 + place * (wide + 0.2)
            _box(ax, left, top, wide, lines, "#009E73", "center")
            _elbow(ax, (middle, top - GAP), (left + wide / 2, top))
    told = "; ".join(f"{name} {n}" for _, name, n, _ in table.itertuples(index=False))
    return svg(figure, "cohort-flow", f"Cohort flow: {told}", table)


def _lines(table: pd.DataFrame, stage: str, leaves: bool) -> list[str]:
    """What a box says: `35 images found`, or a reason per line with its number."""
    rows = table[(table["stage"] == stage) & (table["leaves"] == leaves)]
    lines: list[str] = []
    for _, name, n, _ in rows.itertuples(index=False):
        lines += textwrap.wrap(f"{n} {_singular(str(name), int(n))}", LETTERS, subsequent_indent="    ")
    return lines


def _singular(name: str, n: int) -> str:
    """`1 image found`."""
    first, _, rest = name.partition(" ")
    counted = first in ("images", "participants", "rows")
    return f"{first.removesuffix('s')} {rest}" if n == 1 and counted else name


def _feet(labels: Sequence[tuple[str, int]]) -> list[list[str]]:
    """A box per class, or of many classes one box for all."""
    if len(labels) <= SIDE_BY_SIDE:
        letters = 72 // max(1, len(labels))
        return [[*textwrap.wrap(label(name, 2 * letters), letters), f"n = {n}"] for name, n in labels]
    told = [f"{label(name, 60)}: n = {n}" for name, n in labels[:MOST_CLASSES]]
    return [[*told, *([f"{len(labels) - MOST_CLASSES} more labels"] if len(labels) > MOST_CLASSES else [])]]


def _high(lines: Sequence[str]) -> float:
    return LINE * len(lines) + 2 * PAD if lines else 0.0


def _box(ax: Axes, left: float, top: float, wide: float, lines: Sequence[str], edge: str, side: str) -> None:
    """A box with its lines, in inches."""
    shape = "round,pad=0,rounding_size=0.06"
    patch = FancyBboxPatch((left, top), wide, _high(lines), shape, fc="white", ec=edge, lw=1.5)
    ax.add_patch(patch)
    x = left + wide / 2 if side == "center" else left + PAD
    for row, line in enumerate(lines):
        ax.text(x, top + PAD + LINE * (row + 0.5), line, ha=side, va="center", color="#111827")


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": "#6b7280", "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


def _elbow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Down, across and down."""
    half = (start[1] + end[1]) / 2
    ax.plot([start[0], start[0], end[0]], [start[1], half, half], color="#6b7280", lw=1.2)
    _arrow(ax, (end[0], half), end)
