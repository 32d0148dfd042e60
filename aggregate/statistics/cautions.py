"""Sentences on what a table of AUROC must not be taken for; every verb says the same."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from aggregate.cohort.task import Metric
from aggregate.common.table_values import listed
from aggregate.statistics.evaluate import Measured, below_guessing
from aggregate.statistics.metrics import GUESSING

FEW = 4
"""Values (folds x repeats) with which an interval has three degrees of freedom: hardly a bound."""


def cannot_compare(a: str, b: str, found: Mapping[str, Any] | None) -> str:
    """Why two rows cannot be compared; empty where they can.

    Args:
        a: What the first is called.
        b: The second.
        found: As `compare` gives it.
    """
    if found is None:
        why = "too few folds define their difference"
    elif found.get("p") is not None:
        return ""
    elif len(found.get("as_guessing") or ()) == 2:
        why = "neither is better than guessing"
    elif found.get("difference") is None:
        why = "their difference is not defined"
    else:
        why = (
            f"they differ by {found['difference']:+.3f} in every fold, and without spread nothing can be said"
        )
    return f"{a} and {b} cannot be compared: {why}"


def as_guessing(name: str, found: Mapping[str, Any]) -> str:
    """`, which counts as 0.5` behind the AUROC of a row that does."""
    return f", which counts as {GUESSING}" if name in (found.get("as_guessing") or ()) else ""


def few_folds(measured: Measured) -> list[str]:
    """A warning where intervals and p values rest on very few folds."""
    n = int(np.isfinite(measured.judged).sum())
    if len(measured.n_test) < 2 or n > FEW:
        return []
    freedom = f"{max(n - 1, 0)} degree{'s' * (n != 2)} of freedom"
    return [
        f"{n} fold{'s' * (n != 1)} define {_one(measured.primary)}: intervals and p values have {freedom}, "
        "too few to tell anything but a large effect; more folds or repeats give more"
    ]


def _one(metric: Metric) -> str:
    """`an AUROC`, `an MAE`, `a kappa`."""
    return f"{'an' if metric.words[0] in 'AEIOUMaeiou' else 'a'} {metric.words}"


def below_guessing_notes(measured: Iterable[Measured]) -> list[str]:
    """A note on rows whose AUROC is below 0.5: why that happens, and what they count as."""
    found = [m for m in measured if below_guessing(m)]
    if not found:
        return []
    low = [f"{m.configuration} ({np.nanmean(m.judged):.2f})" for m in found]
    return [
        f"{found[0].primary.words} below {GUESSING}: {listed(low)}. In cross-validation chance does that, "
        "and traits that were matched between the classes do it more: what a fold has more of, its training "
        f"part has less of. It is no finding, and in comparisons it counts as {GUESSING}"
    ]
