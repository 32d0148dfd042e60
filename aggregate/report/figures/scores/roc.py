"""ROC curves of heads and baselines, averaged over folds."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from aggregate.report.figures.curves import GRID, Roc
from aggregate.report.figures.drawing import COLOURS, DASHES, NAME, STYLE, Drawing, axes, svg
from aggregate.statistics.bands import Band
from cache_schema.common.terminal.visible import label


def roc(name: str, main: Roc, others: dict[str, Roc]) -> Drawing:
    """The head's curve per repeat (thin) and on average, and the baselines' averages dashed."""
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.6 + 0.22 * (1 + len(others)))
        ax.plot([0, 1], [0, 1], color="#d1d5db", lw=1)
        for repeat in main.repeats if len(main.repeats) > 1 else ():
            ax.plot(GRID, repeat, color=COLOURS[0], lw=0.7, alpha=0.35)
        if main.band is not None:
            ax.fill_between(GRID, main.band.low, main.band.high, color=COLOURS[0], alpha=0.18, lw=0)
        ax.plot(GRID, main.mean, color=COLOURS[0], lw=2.5, label=label(name, NAME), zorder=3)
        for index, (other, curve) in enumerate(others.items()):
            colour, dash = COLOURS[1 + index % 5], DASHES[index % len(DASHES)]
            ax.plot(GRID, curve.mean, color=colour, ls=dash, lw=1.5, label=label(other, NAME))
        finish_roc(ax)
    told = f"ROC curves, out-of-fold, of {', '.join([name, *others])}"
    return svg(figure, "roc", told, roc_table({name: main, **others}))


def roc_by_class(curves: dict[str, Roc]) -> Drawing:
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
    told = f"ROC curves, out-of-fold, of {', '.join(curves)}, each against the rest"
    return svg(figure, "roc", told, roc_table(curves), by_class=True)


def roc_table(curves: dict[str, Roc]) -> pd.DataFrame:
    """Rows: name, false_positive_rate, mean, and of the first its limits and a column per repeat."""
    parts = []
    for index, (name, curve) in enumerate(curves.items()):
        own = {"name": name, "false_positive_rate": GRID, "mean": curve.mean}
        several = curve.repeats if index == 0 and len(curve.repeats) > 1 else ()
        limits = {} if curve.band is None else {"low": curve.band.low, "high": curve.band.high}
        lines = {f"repeat_{n}": line for n, line in enumerate(several)}
        parts.append(pd.DataFrame({**own, **limits, **lines}))
    return pd.concat(parts, ignore_index=True)


def rocs_of(table: pd.DataFrame) -> dict[str, Roc]:
    """The curves of a `roc_table`."""
    repeats = [name for name in table if str(name).startswith("repeat_")]
    return {
        str(name): Roc(
            rows[repeats].dropna(axis=1).to_numpy(float).T, rows["mean"].to_numpy(float), _band(rows)
        )
        for name, rows in table.groupby("name", sort=False)
    }


def _band(rows: pd.DataFrame) -> Band | None:
    """Limits, where a curve has them."""
    if "low" not in rows or rows["low"].isna().all():
        return None
    return Band(rows["low"].to_numpy(float), rows["high"].to_numpy(float))


def finish_roc(ax: Axes) -> None:
    """Square, from 0 to 1, with the legend below: a curve may pass through any corner."""
    ax.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="false positive rate", ylabel="true positive rate")
    ax.set_aspect("equal")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), handlelength=2.6, fontsize=10)
