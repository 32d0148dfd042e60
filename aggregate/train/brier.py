"""Integrated Brier scores of a survival study: of the head, its bar, and one curve for everybody.

Each run's baseline hazard is of its own training part, so nothing of a test part is known to what is judged
on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aggregate.baselines.baselines import Baseline
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold
from aggregate.cohort.task import Metric
from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.brier import baseline_hazard, integrated_brier, score_times, without_event
from aggregate.statistics.classes.lines import interval_cell
from aggregate.statistics.evaluate import OutOfFold, compare, intervals, measure_folds
from aggregate.statistics.metrics import Scores
from aggregate.targets.base import goal_of_cohort
from aggregate.targets.survival import Survival
from aggregate.targets.told import CONSTANT
from aggregate.train.case import Case, CaseTokens
from aggregate.train.crossval import Trained
from aggregate.training.stacked import TrainedRun, apply_head

BRIER = "brier"
"""The part of `metrics.json`."""
IBS = Metric("ibs", "integrated Brier score", lower_is_better=True)


def brier_facts(
    case: Case, tokens: CaseTokens, trained: Trained, baselines: Sequence[Baseline]
) -> dict[str, Any]:
    """`brier`: scores with intervals, the head against the others, and a sentence; empty of other targets."""
    if not isinstance(case.cohort.kind, Survival):
        return {}
    cohort, times = case.cohort, score_times(case.cohort.outcomes)
    judged = {trained.outputs[0].configuration: _of_head(case, tokens, trained, times)}
    bar = next((one for one in baselines if one.name == cohort.kind.bar), None)
    if bar is not None:
        judged[bar.name] = _of_bar(case, tokens, bar, times)
    judged[CONSTANT] = [_constant(cohort, fold, times) for fold in case.folds]

    def by(scores: Scores, threshold: float, temperature: float) -> Mapping[str, float]:
        return {IBS.name: integrated_brier(scores.y, scores.logits, times)}

    measured = {
        name: replace(measure_folds(cohort, outputs, by), primary=IBS) for name, outputs in judged.items()
    }
    table = {
        name: intervals(cohort, outputs, measured[name], by)[IBS.name].as_json()
        for name, outputs in judged.items()
    }
    head, *others = measured
    compared = {name: compare(measured[head], measured[name]) for name in others}
    scores = ", ".join(f"{name} {interval_cell(found)}" for name, found in table.items())
    said = f"integrated Brier score up to {times[-1]:g}, lower is better: {scores}"
    found = {name: one for name, one in compared.items() if one is not None}
    return {BRIER: {"until": float(times[-1]), "scores": table, "comparison": found, "said": said}}


def _of_head(case: Case, tokens: CaseTokens, trained: Trained, times: Floats) -> list[OutOfFold]:
    """Of every run, how likely its test bags are without the event (bag, time)."""
    found = []
    for run, output in zip(trained.runs, trained.outputs, strict=True):
        risk = _risk(case, tokens, run, output.fold)
        found.append(_likely(case.cohort, output, risk, run.spec.train_rows, times))
    return found


def _risk(case: Case, tokens: CaseTokens, run: TrainedRun, fold: Fold) -> Floats:
    """Of the bags that a run was trained on (bag,)."""
    bags = tokens.bags if tokens.harmoniser is None else tokens.harmoniser.bags(tokens.bags, fold)
    goal = goal_of_cohort(case.cohort, case.setup.loss)
    head = case.setup.head.build(bags.x.shape[2], goal.n_outputs)
    outputs = apply_head(head, [run.state], bags.take(run.spec.train_rows)).logits
    return np.asarray(outputs[0, :, 0].double().numpy(), dtype=np.float64)


def _of_bar(case: Case, tokens: CaseTokens, bar: Baseline, times: Floats) -> list[OutOfFold]:
    """The same of the linear model on mean pooled tokens."""
    found, goal = [], goal_of_cohort(case.cohort)
    for fold, solution, said in zip(case.folds, bar.solutions, bar.logits, strict=True):
        harmoniser = tokens.harmoniser
        x = tokens.pooled if harmoniser is None else harmoniser.vectors(fold.inside)
        risk, output = goal.says(solution, x[fold.inside])[:, 0], OutOfFold(bar.name, fold, 0, said)
        found.append(_likely(case.cohort, output, risk, fold.inside, times))
    return found


def _constant(cohort: Cohort, fold: Fold, times: Floats) -> OutOfFold:
    """One curve for everybody: that of the training part."""
    output = OutOfFold(CONSTANT, fold, 0, np.zeros((len(fold.test), 1)))
    return _likely(cohort, output, np.zeros(len(fold.inside)), fold.inside, times)


def _likely(cohort: Cohort, output: OutOfFold, risk: Floats, inside: Ints, times: Floats) -> OutOfFold:
    """An output whose columns are probabilities at the times, in place of a risk.

    Args:
        cohort: Gives times and weights.
        output: Risks of test bags.
        risk: Of the bags that it was trained on (bag,).
        inside: These bags.
        times: (time,)
    """
    hazard = baseline_hazard(cohort.outcomes[inside], risk, cohort.weight[inside], times)
    return replace(output, logits=without_event(output.logits[:, 0], hazard))
