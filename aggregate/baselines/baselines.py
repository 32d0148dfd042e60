"""What any head has to beat: mean pooling with logistic regression, confounds, scanner, head size alone.

Each is fitted per fold on its training and validation rows together, and scored on its test rows.
Logistic regression has an L2 penalty on standardised columns. For the tokens its strength is chosen by
three inner folds over participants (lowest cross-entropy; the strongest penalty of equal ones); for a
handful of columns it is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from aggregate.bags.bags import Bags
from aggregate.bags.lazy import BLOCK
from aggregate.baselines.confounds import confound_frame
from aggregate.baselines.design import design, fit_scaling
from aggregate.baselines.names import BaselineName
from aggregate.cohort.acquisition import VOLUME, head_size_columns, scanner_columns
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.folds import deal
from aggregate.cohort.people import Fold, people_of
from aggregate.common.arrays import Floats, Ints
from aggregate.common.table_values import listed

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse penalties (scikit-learn's C) that inner folds choose from."""
INNER_FOLDS = 3
FEW = 1e-2
"""The inverse penalty where a class has fewer participants than inner folds."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Out-of-fold predictions of one baseline."""

    name: str
    logits: tuple[Floats, ...]
    """Per fold, log-probabilities of its test rows (test bag, class); empty when it cannot be made."""
    reason: str = ""
    """Why it cannot be made."""
    notes: tuple[str, ...] = ()


def one_thread() -> Any:
    """Let linear algebra use one thread: many small fits on threads that wait for each other crawl.

    Measured on a busy machine with two cores: 0.6 s in place of 12 to 42 s for two folds of 300 bags.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(1)


def make_baselines(
    cohort: Cohort,
    bags: Bags,
    folds: Sequence[Fold],
    names: Sequence[BaselineName],
    confounds: Sequence[str] | None = None,
    site: str | None = None,
) -> list[Baseline]:
    """The named baselines, in order; `confounds` and `site` are as in `confound_frame`."""
    made = []
    for name in names:
        if name == "mean_pool_logistic":
            made.append(mean_pool_logistic(cohort, bags, folds))
        elif name == "confounds_only":
            made.append(confounds_only(cohort, folds, confounds, site))
        else:
            made.append(from_acquisition(name, cohort, folds))
    return made


def mean_pool_logistic(cohort: Cohort, bags: Bags, folds: Sequence[Fold]) -> Baseline:
    """Logistic regression on the mean over kept slices."""
    x = mean_pool(bags)
    logits = []
    for fold in folds:
        train = both(fold)
        groups = people_of(cohort.participants[train].tolist(), cohort.y[train])
        with one_thread():
            logits.append(_fit(x[train], x[fold.test], cohort, train, groups.of_bag, groups.y))
    return Baseline("mean_pool_logistic", tuple(logits))


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
    logits = [_fit_columns(design(frame, both(fold)), cohort, fold) for fold in folds]
    return Baseline("confounds_only", tuple(logits), notes=tuple(notes))


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
    logits = [_fit_columns(design(frame[varying], both(fold)), cohort, fold) for fold in folds]
    return Baseline(name, tuple(logits), notes=(f"columns: {listed(varying)}",))


def both(fold: Fold) -> Ints:
    """Training and validation rows together, ascending."""
    return np.sort(np.concatenate([fold.train, fold.validation]))


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


def _fit_columns(x: Floats, cohort: Cohort, fold: Fold) -> Floats:
    train = both(fold)
    scale = fit_scaling(x[train])
    y, weight, n = cohort.y[train], cohort.weight[train], len(cohort.classes)
    with one_thread():
        return logistic(scale(x[train]), y, weight, scale(x[fold.test]), n, 1.0)


def _fit(x: Floats, test: Floats, cohort: Cohort, rows: Ints, group: Ints, labels: Ints) -> Floats:
    """Choose the penalty inside the training part, then fit all of it."""
    y, weight, n = cohort.y[rows], cohort.weight[rows], len(cohort.classes)
    strength = choose_strength(x, y, weight, group, labels, n)
    scale = fit_scaling(x)
    return logistic(scale(x), y, weight, scale(test), n, strength)


def choose_strength(x: Floats, y: Ints, weight: Floats, group: Ints, labels: Ints, n_classes: int) -> float:
    """The inverse penalty with the lowest cross-entropy on inner folds.

    Args:
        x: Training rows (bag, column).
        y: Class index (bag,).
        weight: (bag,)
        group: Participant of every bag (bag,), counting from 0.
        labels: Class index of every participant (participant,).
        n_classes: Number of classes.
    """
    if np.bincount(labels, minlength=n_classes).min() < INNER_FOLDS:
        return FEW
    hand = deal(labels, INNER_FOLDS, np.random.default_rng(0))[group]
    losses = np.zeros(len(STRENGTHS))
    for inner in range(INNER_FOLDS):
        inside, out = hand != inner, hand == inner
        scale = fit_scaling(x[inside])
        a, b = scale(x[inside]), scale(x[out])
        a, b = reduce(a, b)
        for index, strength in enumerate(STRENGTHS):
            logits = logistic(a, y[inside], weight[inside], b, n_classes, strength)
            losses[index] -= float((weight[out] * logits[np.arange(len(b)), y[out]]).sum())
    return STRENGTHS[int(np.argmin(losses))]


def reduce(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Rotate into the space that the training rows span, when that is smaller.

    An L2-penalised fit has no weight outside that space, so nothing changes but the time it takes.
    """
    if train.shape[0] >= train.shape[1]:
        return train, test
    u, s, vt = np.linalg.svd(train, full_matrices=False)
    return u * s, test @ vt.T


def logistic(train: Floats, y: Ints, weight: Floats, test: Floats, n_classes: int, strength: float) -> Floats:
    """L2-penalised logistic regression: log-probabilities of the test rows (row, class).

    Without a column it is the weighted share of each class.

    Args:
        train: Standardised training rows.
        y: Class index per training row; a class that does not occur gets probability 1e-9.
        weight: Of each training row.
        test: Rows to score, standardised likewise.
        n_classes: Number of classes.
        strength: Inverse penalty, scikit-learn's C.
    """
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(y)
    p = np.full((len(test), n_classes), 1e-9)
    if train.shape[1] == 0 or len(classes) < 2:
        p += np.bincount(y, weights=weight, minlength=n_classes) / weight.sum()
    elif len(test):
        a, b = reduce(train, test)
        model = LogisticRegression(C=strength, max_iter=10_000)
        model.fit(a, y, sample_weight=weight)
        p[:, classes] += model.predict_proba(b)
    return np.asarray(np.log(p), dtype=np.float64)
