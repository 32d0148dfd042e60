"""Confounds, scanner and head size of another cohort, judged by what the training learnt of its own.

Columns go by the training's names, or a synonym (sex and gender, site and center). What the other table does
not have tells nothing there: a number is the training's median for everybody, a site is none that it knew.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aggregate.baselines.confounds import BRAIN, as_text
from aggregate.cohort.acquisition import VOLUME
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.table.columns import same_meaning
from aggregate.common.arrays import Floats
from aggregate.common.design import Design, TextColumn
from aggregate.common.table_values import listed
from aggregate.predict.bundle import Bundle
from aggregate.predict.mean_pooling import mean_said

CONFOUNDS = "confounds_only"


def column_logits(bundle: Bundle, cohort: Cohort) -> tuple[dict[str, Floats], list[str]]:
    """What each of a bundle's models of columns says of every bag, the mean over its folds.

    Returns:
        What it says by baseline, of classes log-probabilities (bag, class) in the bundle's order; and notes
        on what the cohort does not have.
    """
    found, notes = {}, []
    for name, designs in bundle.card.columns.items():
        frame = columns_elsewhere(name, designs, cohort)
        wanted = list(dict.fromkeys(column.name for design in designs for column in design.columns))
        absent = [column for column in wanted if column not in frame]
        if wanted and len(absent) == len(wanted):
            notes.append(f"{name} is not judged here: {listed(absent)} of the training is not in this cohort")
            continue
        if absent:
            notes.append(f"{name}: {listed(absent)} of the training is not in this cohort and tells nothing")
        notes += [f"{name}: {sentence}" for sentence in _strange(designs, frame)]
        matrices = [design.matrix(frame) for design in designs]
        found[name] = mean_said(bundle.card.kind, bundle.columns[name], matrices)
    return found, notes


def columns_elsewhere(name: str, designs: Sequence[Design], cohort: Cohort) -> pd.DataFrame:
    """The training's columns as another cohort has them, under the training's names."""
    acquired = cohort.acquisition
    if name != CONFOUNDS:
        return acquired
    frame = pd.DataFrame(index=range(len(cohort.frame)))
    wanted = {column.name: column for design in designs for column in design.columns}
    for own, column in wanted.items():
        there = [other for other in map(str, cohort.table.columns) if same_meaning(own, other)]
        if own in there or there:
            values = cohort.table[own if own in there else there[0]].reset_index(drop=True)
            frame[own] = as_text(values) if isinstance(column, TextColumn) else values
    if "brain_ml" in wanted and "brain_ml" not in frame and set(acquired["foreground"]) <= set(BRAIN):
        frame["brain_ml"] = acquired[VOLUME].to_numpy()
    return frame


def _strange(designs: Sequence[Design], frame: pd.DataFrame) -> list[str]:
    """Sentences on texts that no fold of the training had."""
    known: dict[str, set[str]] = {}
    column_of: dict[str, TextColumn] = {}
    for design in designs:
        for column in design.columns:
            if isinstance(column, TextColumn) and column.name in frame:
                known.setdefault(column.name, set()).update(column.values)
                column_of[column.name] = column
    told = []
    for name, values in known.items():
        strange = int(np.sum([word not in values for word in column_of[name].words(frame)]))
        if strange:
            told.append(f"{strange} of {len(frame)} rows have a {name} that the training did not have")
    return told
