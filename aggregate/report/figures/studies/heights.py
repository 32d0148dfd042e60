"""Attention of slices over their height, by class."""

import matplotlib
import numpy as np
import pandas as pd

from aggregate.report.figures.curves import Profile
from aggregate.report.figures.drawing import COLOURS, NAME, STYLE, Drawing, axes, svg
from cache_schema.common.terminal.visible import label


def attention_profile(found: dict[str, Profile], from_pole: str) -> Drawing:
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
    told = f"Attention over height {from_pole} by class: {peaks}"
    return svg(figure, "attention", told, profile_table(found), from_pole=from_pole)


def profile_table(found: dict[str, Profile]) -> pd.DataFrame:
    """Profiles as rows: name, height_mm, mean, low, high."""
    columns = ("height_mm", "mean", "low", "high")
    parts = [
        pd.DataFrame({"name": name, **{column: getattr(profile, column) for column in columns}})
        for name, profile in found.items()
    ]
    return pd.concat(parts, ignore_index=True)


def profiles_of(table: pd.DataFrame) -> dict[str, Profile]:
    """The profiles of a `profile_table`."""
    columns = ("height_mm", "mean", "low", "high")
    return {
        str(name): Profile(*(np.asarray(rows[column], dtype=float) for column in columns))
        for name, rows in table.groupby("name", sort=False)
    }
