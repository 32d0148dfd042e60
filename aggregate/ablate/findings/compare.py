"""What may be claimed of each configuration: intervals, differences, and which tests were named before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.ablate.grid.expand import Study
from aggregate.cohort.task import Metric
from aggregate.config.ablate import NESTED
from aggregate.statistics.corrected import Interval
from aggregate.statistics.evaluate import Measured, compare
from aggregate.statistics.holm import holm

SIGNIFICANCE = 0.05

Found = dict[str, Any]
"""difference, ci_low, ci_high, p, as_guessing; None where not defined."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A primary comparison, with Holm's p over all primary ones."""

    a: str
    b: str
    found: Found | None
    """None when there are too few folds to compare over."""
    p_holm: float | None
    one_run: bool = False
    """Both names are of one run, so there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration in the table."""

    name: str
    varied: dict[str, Any]
    n_runs: int
    intervals: dict[str, Interval]
    primary: Metric
    """What is compared."""
    spread: float
    """Over folds and repeats, seeds averaged; not a standard error."""
    difference: Found | None
    """To the reference; None for the reference itself."""
    kind: str
    """`reference`, `primary` or `exploratory`: what the comparison with the reference is; `baseline` of a row
    that is no configuration, unless it was named."""
    p_holm: float | None
    """Of the comparison with the reference, if that is primary."""
    versus_mean_pool: Found | None
    """To mean pooling + logistic regression of the same tokens."""
    same_as: str = ""
    """The earlier configuration that is the same run; it counts there."""
    label: str = ""
    """What figures and tables of a paper call it, where the file says so."""

    @property
    def beats_mean_pool(self) -> bool:
        """Whether it is shown to be better than mean pooling + logistic regression."""
        found = self.versus_mean_pool
        return found is not None and better(found, self.primary)

    @property
    def judged(self) -> Interval:
        """The primary metric."""
        return self.intervals[self.primary.name]


def better(found: Mapping[str, Any], primary: Metric) -> bool:
    """Whether a difference is for the better, with p below the level."""
    difference, p = found["difference"], found["p"]
    return difference is not None and p is not None and primary.gain(difference) > 0 and p < SIGNIFICANCE


def primary_comparisons(
    study: Study, measured: Mapping[str, Measured], same: Mapping[str, str]
) -> list[Comparison]:
    """The comparisons that were named before, adjusted together.

    One whose p is not defined counts as 1 among the others and stays undefined itself. Two that compare
    the same runs under other names count once, and one of a run with itself not at all.

    Args:
        study: Names them.
        measured: Of all configurations and baselines.
        same: Every configuration's name -> the first one that is the same run.
    """
    pairs = [(a, b) for a, b in study.spec.primary if a in measured and b in measured]
    found = [compare(measured[a], measured[b]) for a, b in pairs]
    p = [None if item is None else item["p"] for item in found]
    runs = [frozenset(same.get(side, side) for side in pair) for pair in pairs]
    family = {two: 1.0 if own is None else own for two, own in zip(runs, p, strict=True) if len(two) == 2}
    adjusted = dict(zip(family, holm(list(family.values())), strict=True))
    return [
        Comparison(a, b, item, None if own is None else adjusted.get(two), one_run=len(two) == 1)
        for (a, b), item, own, two in zip(pairs, found, p, runs, strict=True)
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
    same: Mapping[str, str],
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
        same: As in `primary_comparisons`.
    """
    ours, reference = measured[name], study.reference
    run, other = same.get(name, name), same.get(reference, reference)
    pair = next((c for c in primary if {same.get(s, s) for s in (c.a, c.b)} == {run, other}), None)
    beside = "exploratory" if name == NESTED or name in {c.name for c in study.configurations} else "baseline"
    kind = "primary" if pair is not None else beside
    values = ours.judged
    return Row(
        name=name,
        varied=varied,
        n_runs=n_runs,
        intervals=intervals,
        primary=ours.primary,
        spread=float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else float("nan"),
        difference=None if run == other else compare(ours, measured[reference]),
        kind="reference" if name == reference else kind,
        p_holm=None if pair is None else pair.p_holm,
        versus_mean_pool=None if mean_pool is None else compare(ours, measured[mean_pool]),
        same_as="" if run == name else run,
        label=study.spec.label_of(name),
    )
