"""Where participants lie in the space that heads read: two directions of their mean-pooled tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from aggregate.baselines.confounds import as_text, site_of
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.table.columns import find_column, same_meaning
from aggregate.common.arrays import Floats

FEWEST = 3
"""Participants; of two any direction is the whole."""
DIGITS = 6


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """A projection, and no test: what lies apart here may be age, site or scanner as well as a disease."""

    points: pd.DataFrame
    """A row per participant: participant_id, x, y, label (or value, of a target that is a number), and site,
    sex and age as far as the table has them."""
    shares: tuple[float, float]
    """Of the variance that each direction has."""


def embedding_map(cohort: Cohort, pooled: Floats, site: str | None = None) -> EmbeddingMap | None:
    """The two first principal components over participants; None where there is nothing to project.

    Args:
        cohort: Gives participants and columns.
        pooled: Mean over kept slices (bag, dim).
        site: Column of the site; by default looked for.
    """
    names, first, of_bag = np.unique(cohort.participants, return_index=True, return_inverse=True)
    sums = np.zeros((len(names), pooled.shape[1]))
    np.add.at(sums, of_bag, pooled)
    means = sums / np.bincount(of_bag)[:, None]
    if len(names) < FEWEST or means.shape[1] < 2 or not np.ptp(means, axis=0).any():
        return None
    fitted = PCA(n_components=2, random_state=0).fit(means)
    places = fitted.transform(means).astype(np.float64)
    points = pd.DataFrame({"participant_id": names.tolist(), "x": places[:, 0], "y": places[:, 1]})
    # What is beyond these digits is rounding, and differs between machines.
    points[["x", "y"]] = points[["x", "y"]].map(lambda value: float(f"{value:.{DIGITS}g}"))
    points = points.assign(**_colours(cohort, first, site))
    x, y = (round(float(share), DIGITS) for share in fitted.explained_variance_ratio_)
    return EmbeddingMap(points, (x, y))


def _colours(
    cohort: Cohort, rows: "np.ndarray[tuple[int], np.dtype[np.int64]]", site: str | None
) -> dict[str, Any]:
    """What points are coloured by (participant,)."""
    number = not cohort.kind.classes and cohort.values.shape[1] == 1
    label = (
        {"value": cohort.values[rows, 0]} if number else {"label": np.array(cohort.classes)[cohort.y[rows]]}
    )
    columns = {meaning: find_column(list(cohort.table.columns), meaning) for meaning in ("sex", "age")}
    columns["site"] = site_of(cohort, site)
    known = {
        meaning: cohort.table[name].iloc[rows].reset_index(drop=True)
        for meaning, name in columns.items()
        if name is not None and not same_meaning(name, cohort.target)
    }
    told = {name: as_text(known[name]).fillna("") for name in ("site", "sex") if name in known}
    age = {"age": pd.to_numeric(known["age"], errors="coerce")} if "age" in known else {}
    return {**label, **{name: column.tolist() for name, column in (told | age).items()}}
