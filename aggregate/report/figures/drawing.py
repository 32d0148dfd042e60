"""Figures as inline SVG: the same bytes from the same numbers, and nothing loaded from anywhere."""

import io
import re
import warnings
from html import escape
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cache_schema.common.terminal.visible import label

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart by people with any colour vision."""

NAME = 36
"""Characters of a name in a figure of this size."""
ALT = 400
"""Characters of the text for those who cannot see a figure."""

SMALLEST = 10 * 96 / 72
"""Pixels of the smallest text in a figure of its own size."""
READABLE = 10
"""Pixels that no text of a figure may fall below on any screen."""

DASHES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold `$`: it is text, and never a formula
    "font.family": ["sans-serif"],
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b7280",
    "axes.labelcolor": "#374151",
    "xtick.color": "#374151",
    "ytick.color": "#374151",
    "legend.frameon": False,
}


class Drawing(str):
    """An `<svg>` element, and all that makes the same one again."""

    figure: Figure
    kind: str
    """By which `redraw` knows how it is drawn."""
    name: str
    """Of its files."""
    table: pd.DataFrame
    """The numbers in it."""
    facts: dict[str, Any]
    """What else it was drawn from: few words and numbers."""


def svg(figure: Figure, salt: str, alt: str, table: pd.DataFrame, **facts: Any) -> Drawing:
    """An `<svg>` element to stand in a page.

    Args:
        figure: Is drawn as it is.
        salt: Keeps the ids of several figures in one page apart, and the same from run to run.
        alt: What the figure shows, for those who cannot see it.
        table: The numbers in it.
        facts: What else it was drawn from.
    """
    drawing = Drawing(_element(figure, salt, alt))
    drawing.figure, drawing.kind, drawing.name = figure, salt, salt.replace("-", "_")
    drawing.table, drawing.facts = table, facts
    return drawing


def _element(figure: Figure, salt: str, alt: str) -> str:
    """The SVG as text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        # The browser has the letters that matplotlib's font lacks; here they are only measured.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        # Fifty classes leave no room for axes: a poor figure, and no reason to have none.
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    figure.set_layout_engine("none")  # laid out: whoever saves it again need not lay it out again
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    width, height = (float(side) * 96 for side in figure.get_size_inches())
    least = width * READABLE / SMALLEST  # a narrow screen scrolls rather than shrink text beyond reading
    style = f"max-width:{width:.0f}px;min-width:{least:.0f}px"
    opening = f'<svg role="img" aria-label="{escape(label(alt, ALT))}" style="{style}" '
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg ", f'{opening}width="{width:.0f}" height="{height:.0f}" ', 1).strip()


def label_lines(text: str) -> str:
    """A name on an axis; it may have been broken into lines on purpose."""
    return "\n".join(label(line, NAME) for line in text.split("\n")[:2])


def axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of some inches with one pair of axes, without a window system."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def drawn_line(ax: Axes, index: int, x: Any, y: Any, name: str, marker: str = "") -> None:
    """A configuration's line, told apart by colour and dash; the first is drawn as the one in question."""
    style = "-" if index == 0 else DASHES[(index - 1) % len(DASHES)]
    width = 2.5 if index == 0 else 1.5
    ax.plot(x, y, color=COLOURS[index % 6], ls=style, lw=width, marker=marker, label=label(name, NAME))
