"""Which component of a detector the patches of a slice come from, beside the scores of that slice."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.anomaly.findings.results import DetectionResults, PartArray, ShownVolume
from aggregate.report.figures.drawing import NAME, STYLE, Drawing, svg
from aggregate.report.figures.images.tiles import PART_COLOURS, TILE_COLOURS
from cache_schema.common.terminal.visible import label


def component_figures(results: DetectionResults) -> list[tuple[str, Drawing]]:
    """Name and figure of every detector that has components, of the first volume that is shown."""
    return [
        (name, component_figure(name, results.detector, worst_slice(shown, parts)))
        for shown in results.shown[:1]
        for name, parts in shown.parts.items()
    ]


def worst_slice(shown: ShownVolume, parts: PartArray) -> pd.DataFrame:
    """The patches of the slice with the highest score; components are counted from 1."""
    place = int(np.argmax(shown.slices))
    rows, cols = np.indices(parts[place].shape)
    return pd.DataFrame(
        {
            "row": rows.ravel(),
            "col": cols.ravel(),
            "component": parts[place].ravel() + 1,
            "foreground": shown.foreground[place].ravel().astype(float),
            "score": shown.tokens[place].ravel().astype(float),
            "height_mm": float(shown.height_mm[place]),
        }
    )


def component_figure(name: str, scorer: str, table: pd.DataFrame) -> Drawing:
    """Components by one detector beside the scores by another; patches off the foreground are left out.

    Args:
        name: Whose components they are.
        scorer: Whose scores.
        table: As `worst_slice` gives it.
    """
    shape = int(table["row"].max()) + 1, int(table["col"].max()) + 1
    inside = table["foreground"].to_numpy().reshape(shape) > 0
    components = table["component"].to_numpy().reshape(shape)
    height = float(table["height_mm"].iloc[0])
    colours = matplotlib.colormaps[PART_COLOURS]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        shown = np.ma.masked_array((components - 1) % colours.N, ~inside)
        left.imshow(shown, cmap=colours, vmin=0, vmax=colours.N - 1, interpolation="nearest")
        _bare(left, f"{label(name, NAME)}: component")
        scores = np.ma.masked_array(table["score"].to_numpy().reshape(shape), ~inside)
        right.imshow(scores, cmap=TILE_COLOURS, interpolation="nearest")
        _bare(right, f"{label(scorer, NAME)}: score")
        figure.suptitle(f"{height:.0f} mm, the slice that scores highest", fontsize=11)
    n = len(np.unique(components[inside]))
    told = f"{name}: {n} components in the slice at {height:.0f} mm"
    return svg(figure, f"components-{name}", told, table, detector=name, scorer=scorer)


def _bare(ax: Axes, title: str) -> None:
    """A picture without axes."""
    ax.set_axis_off()
    ax.set_title(title, fontsize=11)
