"""What may be claimed of each configuration: intervals, differences, and which tests were named before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.ablate.grid.expand import Study
from aggregate.statistics.corrected import Interval
from aggregate.statistics.evaluate import Measured, compare
from aggregate.statistics.holm import holm

SIGNIFICANCE = 0.05
MEAN_POOL = "mean_pool_logistic"

Found = dict[str, float | None]
"""difference, ci_low, ci_high, p; None where not defined."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A primary comparison, with Holm's p over all primary ones."""

    a: str
    b: str
    found: Found | None
    """None when there are too few folds to compare over."""
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration in the table."""

    name: str
    varied: dict[str, Any]
    n_runs: int
    intervals: dict[str, Interval]
    auroc_sd: float
    """Over folds and repeats, seeds averaged; not a standard error."""
    difference: Found | None
    """To the reference; None for the reference itself."""
    kind: str
    """`reference`, `primary` or `exploratory`: what the comparison with the reference is."""
    p_holm: float | None
    """Of the comparison with the reference, if that is primary."""
    versus_mean_pool: Found | None
    """To mean pooling + logistic regression of the same tokens."""

    @property
    def beats_mean_pool(self) -> bool:
        """Whether it is shown to be better than mean pooling + logistic regression."""
        found = self.versus_mean_pool
        return found is not None and better(found)


def better(found: Mapping[str, float | None]) -> bool:
    """Whether a difference is above 0 with p below the level."""
    difference, p = found["difference"], found["p"]
    return difference is not None and p is not None and difference > 0 and p < SIGNIFICANCE


def primary_comparisons(study: Study, measured: Mapping[str, Measured]) -> list[Comparison]:
    """The comparisons that were named before, adjusted together.

    One whose p is not defined counts as 1 among the others and stays undefined itself.
    """
    pairs = [(a, b) for a, b in study.spec.primary if a in measured and b in measured]
    found = [compare(measured[a], measured[b]) for a, b in pairs]
    p = [None if item is None else item["p"] for item in found]
    adjusted = holm([1.0 if value is None else value for value in p])
    return [
        Comparison(a, b, item, None if own is None else all_)
        for (a, b), item, own, all_ in zip(pairs, found, p, adjusted, strict=True)
    ]


def make_row(
    study: Study,
    name: str,
    varied: dict[str, Any],
    n_runs: int,
    measured: Mapping[str, Measured],
    intervals: dict[str, Interval],
    primary: Sequence[Comparison],
    mean_pool: str | None,
) -> Row:
    """One configuration beside the reference and beside mean pooling.

    Args:
        study: Names the reference.
        name: Of the configuration.
        varied: What it varies.
        n_runs: Trainings behind it.
        measured: Of all configurations and baselines.
        intervals: Of this one.
        primary: The primary comparisons.
        mean_pool: Name of the mean pooling baseline of its tokens, if there is one.
    """
    ours, reference = measured[name], study.reference
    pair = next((c for c in primary if {c.a, c.b} == {name, reference}), None)
    kind = "primary" if pair is not None else "exploratory"
    values = ours.values["auroc"]
    return Row(
        name=name,
        varied=varied,
        n_runs=n_runs,
        intervals=intervals,
        auroc_sd=float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else float("nan"),
        difference=None if name == reference else compare(ours, measured[reference]),
        kind="reference" if name == reference else kind,
        p_holm=None if pair is None else pair.p_holm,
        versus_mean_pool=None if mean_pool is None else compare(ours, measured[mean_pool]),
    )
