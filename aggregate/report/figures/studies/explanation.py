"""Figures of an explanation: evidence over height by class, deletion and insertion beside the controls."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats
from aggregate.explain.controls import CONTROLS
from aggregate.explain.deletion import SHARES
from aggregate.report.figures.curves import Profile
from aggregate.report.figures.drawing import COLOURS, DASHES, NAME, STYLE, Drawing, axes, svg
from cache_schema.common.terminal.visible import label

OF_SHARES = {
    "deletion": "share of slices taken away, highest first",
    "insertion": "share of slices given, highest first",
}


def height_figure(name: str, found: Mapping[str, Profile], even: float, told: str, from_pole: str) -> Drawing:
    """A method's evidence against height, the pole on top, a line with its band per class.

    Args:
        name: Of the method; keeps figures of a page apart.
        found: By class, and of a control under its words.
        even: Where a slice that says nothing lies: 1 for attention, 0 for evidence.
        told: What the horizontal axis shows.
        from_pole: What heights are counted from.
    """
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.6, 5.0)
        ax.axvline(even, color="#9ca3af", lw=1, ls="--")
        for index, (of, profile) in enumerate(found.items()):
            control = of in CONTROLS.values()
            colour = "#6b7280" if control else COLOURS[index % 6]
            dash = (0, (1, 1)) if control else ("-", "--", "-.", ":")[index % 4]
            if not control:
                ax.fill_betweenx(profile.height_mm, profile.low, profile.high, color=colour, alpha=0.18, lw=0)
            ax.plot(profile.mean, profile.height_mm, color=colour, ls=dash, lw=2.2, label=label(of, NAME))
        ax.set(xlabel=told, ylabel=f"mm {from_pole}")
        ax.invert_yaxis()
        ax.locator_params(axis="x", nbins=5)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=10)
    peaks = "; ".join(
        f"{of} highest at {profile.height_mm[profile.mean.argmax()]:.0f} mm"
        for of, profile in found.items()
        if len(profile.mean)
    )
    table = pd.concat([_profile_table(profile).assign(of=of) for of, profile in found.items()])
    alt = f"{told} over height {from_pole} by class: {peaks}"
    return svg(figure, f"height-{name}", alt, table, method=name, even=even, told=told, from_pole=from_pole)


def height_figure_again(table: pd.DataFrame, facts: Mapping[str, Any]) -> Drawing:
    """The same from its own table."""
    columns = ("height_mm", "mean", "low", "high")
    found = {
        str(of): Profile(*(own[column].to_numpy(float) for column in columns))
        for of, own in table.groupby("of", sort=False)
    }
    return height_figure(facts["method"], found, facts["even"], facts["told"], facts["from_pole"])


def _profile_table(profile: Profile) -> pd.DataFrame:
    columns = {"height_mm": profile.height_mm, "mean": profile.mean}
    return pd.DataFrame({**columns, "low": profile.low, "high": profile.high})


def share_figure(name: str, way: str, curves: Mapping[str, Floats], told: str) -> Drawing:
    """How the score goes with the truth by share of slices, a method's map beside its controls'.

    Args:
        name: Of the method.
        way: `deletion` or `insertion`.
        curves: By `own` or a control (share,).
        told: What people call the method.
    """
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.6, 4.4)
        ax.axhline(0, color="#d1d5db", lw=1)
        for index, (of, curve) in enumerate(curves.items()):
            own = index == 0
            ax.plot(
                SHARES,
                curve,
                color=COLOURS[index % 6],
                ls="-" if own else DASHES[index % len(DASHES)],
                lw=2.5 if own else 1.5,
                label=told if own else CONTROLS[of],
            )
        ax.set(xlabel=OF_SHARES[way], ylabel="what tells the labels apart, in logits")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), handlelength=2.6, fontsize=10)
    ends = "; ".join(f"{of} {curve[-1]:.2f}" for of, curve in curves.items())
    table = pd.DataFrame({"share": SHARES, **curves})
    alt = f"{way} of {told}: at half of the slices {ends}"
    return svg(figure, f"{way}-{name}", alt, table, method=name, told=told)


def share_figure_again(way: str, table: pd.DataFrame, facts: Mapping[str, Any]) -> Drawing:
    """The same from its own table."""
    curves = {str(of): table[of].to_numpy(float) for of in table if of != "share"}
    return share_figure(facts["method"], way, curves, facts["told"])


def person_figure(salt: str, height_mm: Floats, values: Floats, even: float, from_pole: str) -> Drawing:
    """One volume's map over height.

    Args:
        salt: Keeps figures of a page apart.
        height_mm: Of its slices (slice,).
        values: (slice,)
        even: As in `height_figure`.
        from_pole: Likewise.
    """
    order = np.argsort(height_mm, kind="stable")
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(3.0, 3.6)
        ax.axvline(even, color="#9ca3af", lw=1, ls="--")
        ax.plot(values[order], height_mm[order], color=COLOURS[0], lw=2)
        ax.set(ylabel=f"mm {from_pole}")
        ax.locator_params(axis="x", nbins=4)
        ax.invert_yaxis()
    told = f"highest {height_mm[int(np.argmax(values))]:.0f} mm {from_pole}"
    table = pd.DataFrame({"height_mm": height_mm, "value": values})
    return svg(figure, salt, told, table, curve=salt, even=even, from_pole=from_pole)


def person_figure_again(table: pd.DataFrame, facts: Mapping[str, Any]) -> Drawing:
    """The same from its own table."""
    height_mm, values = (table[column].to_numpy(float) for column in ("height_mm", "value"))
    return person_figure(facts["curve"], height_mm, values, facts["even"], facts["from_pole"])
