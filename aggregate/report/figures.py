"""Figures as inline SVG: the same bytes from the same numbers, and nothing loaded from anywhere."""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.cohort.task import Metric
from aggregate.report.curves import GRID, Profile, Roc
from cache_schema.common.terminal.visible import label

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart by people with any colour vision."""

NAME = 32
"""Characters of a name in a figure of this size."""
ALT = 400
"""Characters of the text for those who cannot see a figure."""

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


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the forest plot."""

    name: str
    value: float
    low: float | None
    high: float | None
    main: bool = False
    """Drawn as the one in question."""


def svg(figure: Figure, salt: str, alt: str) -> str:
    """An `<svg>` element to stand in a page.

    Args:
        figure: Is drawn as it is.
        salt: Keeps the ids of several figures in one page apart, and the same from run to run.
        alt: What the figure shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        # The browser has the letters that matplotlib's font lacks; here they are only measured.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        # Fifty classes leave no room for axes: a poor figure, and no reason to have none.
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    width, height = (float(side) * 96 for side in figure.get_size_inches())
    opening = f'<svg role="img" aria-label="{escape(label(alt, ALT))}" style="max-width:{width:.0f}px" '
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


def forest(bars: Sequence[Bar], null: tuple[float, float] | None, metric: Metric) -> str:
    """Values with their intervals, one row each.

    Args:
        bars: From top to bottom.
        null: Mean and standard deviation with shuffled labels, drawn as a grey band.
        metric: Of the horizontal axis.
    """
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.9, 0.9 + 0.52 * len(bars))
        if null is not None:
            ax.axvspan(null[0] - 2 * null[1], null[0] + 2 * null[1], color="#e5e7eb", lw=0)
        if metric.guessing is not None:
            ax.axvline(metric.guessing, color="#9ca3af", lw=1, ls="--")
        for row, bar in enumerate(bars):
            colour = COLOURS[0] if bar.main else "#4b5563"
            if bar.low is not None and bar.high is not None:
                ax.plot([bar.low, bar.high], [row, row], color=colour, lw=3 if bar.main else 1.8)
            ax.plot(bar.value, row, "D" if bar.main else "o", color=colour, ms=8 if bar.main else 6)
            ax.annotate(f"{bar.value:.2f}", (bar.value, row), (0, 7), textcoords="offset points", ha="center")
        ax.set_yticks(range(len(bars)), [label_lines(bar.name) for bar in bars])
        ax.set_ylim(len(bars) - 0.5, -0.7)
        if metric.bounds == (0, 1):
            ax.set_xlim(0, 1.02)
        ax.set_xlabel(metric.words + (" (lower is better)" if metric.lower_is_better else ""))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    told = "; ".join(f"{bar.name} {bar.value:.2f}" for bar in bars)
    return svg(figure, "forest", f"{metric.words} with intervals: {told}")


def roc(name: str, main: Roc, others: dict[str, Roc]) -> str:
    """The head's curve per repeat (thin) and on average, and the baselines' averages dashed."""
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.6 + 0.22 * (1 + len(others)))
        ax.plot([0, 1], [0, 1], color="#d1d5db", lw=1)
        for repeat in main.repeats if len(main.repeats) > 1 else ():
            ax.plot(GRID, repeat, color=COLOURS[0], lw=0.7, alpha=0.35)
        ax.plot(GRID, main.mean, color=COLOURS[0], lw=2.5, label=label(name, NAME), zorder=3)
        for index, (other, curve) in enumerate(others.items()):
            colour, dash = COLOURS[1 + index % 5], DASHES[index % len(DASHES)]
            ax.plot(GRID, curve.mean, color=colour, ls=dash, lw=1.5, label=label(other, NAME))
        finish_roc(ax)
    return svg(figure, "roc", f"ROC curves, out-of-fold, of {', '.join([name, *others])}")


def roc_by_class(curves: dict[str, Roc]) -> str:
    """One mean curve per class against the rest."""
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.6 + 0.22 * len(curves))
        ax.plot([0, 1], [0, 1], color="#d1d5db", lw=1)
        for index, (name, curve) in enumerate(curves.items()):
            ax.plot(
                GRID,
                curve.mean,
                color=COLOURS[index % 6],
                lw=2,
                label=f"{label(name, NAME)} against the rest",
            )
        finish_roc(ax)
    return svg(figure, "roc", f"ROC curves, out-of-fold, of {', '.join(curves)}, each against the rest")


def finish_roc(ax: Axes) -> None:
    """Square, from 0 to 1, with the legend below: a curve may pass through any corner."""
    ax.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="false positive rate", ylabel="true positive rate")
    ax.set_aspect("equal")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), handlelength=2.6, fontsize=10)


def attention_profile(found: dict[str, Profile], from_pole: str) -> str:
    """Attention against height, the pole on top (`below the vertex`), one line with its band per class."""
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.6, 4.8)
        ax.axvline(1, color="#9ca3af", lw=1, ls="--")
        for index, (name, profile) in enumerate(found.items()):
            colour, dash = COLOURS[index % 6], ("-", "--", "-.", ":")[index % 4]
            ax.fill_betweenx(profile.height_mm, profile.low, profile.high, color=colour, alpha=0.18, lw=0)
            ax.plot(profile.mean, profile.height_mm, color=colour, ls=dash, lw=2.2, label=label(name, NAME))
        ax.set(xlabel="attention × number of slices (1 = uniform)", ylabel=f"mm {from_pole}")
        ax.set_xlim(left=0)
        ax.invert_yaxis()
        ax.legend(loc="lower right")
    peaks = "; ".join(
        f"{name} highest at {profile.height_mm[profile.mean.argmax()]:.0f} mm"
        for name, profile in found.items()
        if len(profile.mean)
    )
    return svg(figure, "attention", f"Attention over height {from_pole} by class: {peaks}")
