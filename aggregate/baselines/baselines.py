"""What any head has to beat: a linear model on mean pooled tokens, confounds, scanner, head size alone.

Each is fitted per fold on its training and validation rows together, and scored on its test rows.
Logistic regression has an L2 penalty on standardised columns. For the tokens its strength is chosen by
three inner folds over participants (lowest cross-entropy; the strongest penalty of equal ones); for a
handful of columns it is 1. Other targets have another linear model (`Goal.solve`), and what says the same of
everybody as a further row where guessing has no fixed value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from aggregate.bags.bags import Bags
from aggregate.bags.lazy import BLOCK
from aggregate.baselines.confounds import BRAIN, confound_frame
from aggregate.baselines.names import CROPPED, BaselineName
from aggregate.cohort.acquisition import VOLUME, head_size_columns, scanner_columns
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold, people_of
from aggregate.common.arrays import Floats
from aggregate.common.design import Design, fit_design
from aggregate.common.table_values import listed
from aggregate.targets.base import goal_of_cohort
from aggregate.training.solving.goal import Goal
from aggregate.training.solving.logistic import Solution, one_thread
from cache_schema.common.text.counts import counted


@dataclass(frozen=True, slots=True)
class Baseline:
    """Out-of-fold predictions of one baseline."""

    name: str
    logits: tuple[Floats, ...]
    """Per fold, what it says of its test rows: log-probabilities (test bag, class), or what another target
    has; empty when it cannot be made."""
    reason: str = ""
    """Why it cannot be made."""
    notes: tuple[str, ...] = ()
    solutions: tuple[Solution, ...] = ()
    """Per fold: what a bundle keeps to be compared with elsewhere."""
    designs: tuple[Design, ...] = ()
    """Per fold, of a model of columns: how rows become numbers."""


def make_baselines(
    cohort: Cohort,
    bags: Bags,
    folds: Sequence[Fold],
    names: Sequence[BaselineName],
    confounds: Sequence[str] | None = None,
    site: str | None = None,
    pooled: Floats | None = None,
) -> list[Baseline]:
    """The named baselines, in order; `confounds` and `site` for `confound_frame`, `pooled` by `mean_pool`."""
    made = []
    for name in names:
        if name == "mean_pool_logistic":
            made.append(mean_pool_linear(cohort, bags, folds, pooled))
        elif name == "confounds_only":
            made.append(confounds_only(cohort, folds, confounds, site))
        else:
            made.append(from_acquisition(name, cohort, folds))
    return made + ([constant(cohort, folds)] if cohort.kind.constant_row else [])


def mean_pool_linear(
    cohort: Cohort, bags: Bags, folds: Sequence[Fold], pooled: Floats | None = None
) -> Baseline:
    """The target's linear model on the mean over kept slices: for classes, logistic regression.

    `pooled` is that mean where it was formed before.
    """
    x, goal = mean_pool(bags) if pooled is None else pooled, goal_of_cohort(cohort)
    solutions = []
    for fold in folds:
        train = fold.inside
        people = people_of(cohort.participants[train].tolist(), cohort.y[train])
        y, weight = cohort.outcomes[train], cohort.weight[train]
        solutions.append(goal.solve(x[train], y, weight, people.of_bag, people.y))
    said = [_said(cohort, goal, one, x[fold.test]) for one, fold in zip(solutions, folds, strict=True)]
    return Baseline(cohort.kind.bar, tuple(said), solutions=tuple(solutions))


def constant(cohort: Cohort, folds: Sequence[Fold]) -> Baseline:
    """The same of everybody: what the training part has on average."""
    nothing = np.zeros((len(cohort.frame), 0))
    solutions = [_fit_columns(nothing, cohort, fold) for fold in folds]
    goal = goal_of_cohort(cohort)
    said = [_said(cohort, goal, one, nothing[fold.test]) for one, fold in zip(solutions, folds, strict=True)]
    return Baseline("constant", tuple(said))


def confounds_only(
    cohort: Cohort,
    folds: Sequence[Fold],
    confounds: Sequence[str] | None = None,
    site: str | None = None,
) -> Baseline:
    """Logistic regression on age, sex, site and brain volume, as far as they are there."""
    frame, notes = confound_frame(cohort, confounds, site)
    if not len(frame.columns):
        why = "the table has no age, sex or site column" if confounds is None else "no column is left"
        return Baseline("confounds_only", (), f"{why}; {'; '.join(notes)}" if notes else why)
    notes.append(f"confounds: {listed(list(frame.columns))}")
    return _of_columns("confounds_only", frame, cohort, folds, tuple(notes))


def from_acquisition(name: BaselineName, cohort: Cohort, folds: Sequence[Fold]) -> Baseline:
    """Logistic regression on what the records say of the acquisition: scanner, head size, or both.

    Args:
        name: `scanner_only`, `head_size_only`, or `acquisition_only` for both (without millilitres).
        cohort: The cohort.
        folds: To fit and score on.
    """
    frame = cohort.acquisition
    known = {
        "scanner_only": scanner_columns(frame.columns),
        "head_size_only": head_size_columns(frame.columns),
        "acquisition_only": [column for column in frame.columns if column != VOLUME],
    }
    varying = [column for column in known[name] if frame[column].nunique(dropna=False) > 1]
    if not varying:
        return Baseline(name, (), f"{listed(known[name])} are the same in every volume")
    notes = (f"columns: {listed(varying)}", *crop_notes(frame["foreground"], varying))
    return _of_columns(name, frame[varying], cohort, folds, notes)


def crop_notes(foreground: "pd.Series[str]", columns: Sequence[str]) -> tuple[str, ...]:
    """That shape and spacing may be a crop's, where skulls are gone and a model reads either.

    Args:
        foreground: Kind of foreground of every bag.
        columns: That the model reads.
    """
    n, read = int(foreground.isin(BRAIN).sum()), [c for c in columns if c.startswith(("shape_", "spacing_"))]
    if not n or not read:
        return ()
    return (
        f"{CROPPED} {n} of {counted(len(foreground), 'bag')} (stripped or masked): of files that were "
        f"cropped to the brain, {listed(read)} tell the crop, so the size of the brain, and not the scanner",
    )


def mean_pool(bags: Bags) -> Floats:
    """Mean over kept slices: (bag, dim), float64."""
    keep, (n, _, dim) = bags.keep.cpu(), bags.x.shape
    totals = torch.empty((n, dim), dtype=torch.promote_types(bags.x.dtype, torch.float32))
    # Some bags at a time, since their tokens may lie in the store. Padded slices are 0, so the sum over
    # all slices is the sum over the kept ones.
    for start in range(0, n, BLOCK):
        part = bags.x[start : start + BLOCK].cpu()
        totals[start : start + BLOCK] = part.sum(dim=1, dtype=totals.dtype)
    return (totals.double() / keep.sum(dim=1, keepdim=True).clamp(min=1)).numpy()


def _of_columns(
    name: str, frame: pd.DataFrame, cohort: Cohort, folds: Sequence[Fold], notes: tuple[str, ...]
) -> Baseline:
    """The target's linear model on columns, fitted per fold."""
    goal, designs, solutions, said = goal_of_cohort(cohort), [], [], []
    for fold in folds:
        designs.append(fit_design(frame, fold.inside))
        x = designs[-1].matrix(frame)
        solutions.append(_fit_columns(x, cohort, fold))
        said.append(_said(cohort, goal, solutions[-1], x[fold.test]))
    return Baseline(name, tuple(said), notes=notes, solutions=tuple(solutions), designs=tuple(designs))


def _fit_columns(x: Floats, cohort: Cohort, fold: Fold) -> Solution:
    train, goal = fold.inside, goal_of_cohort(cohort)
    with one_thread():
        return goal.fit(x[train], cohort.outcomes[train], cohort.weight[train])


def _said(cohort: Cohort, goal: Goal, solution: Solution, x: Floats) -> Floats:
    """What a solution says of rows, as predictions are kept."""
    return cohort.kind.said(goal.says(solution, x))
