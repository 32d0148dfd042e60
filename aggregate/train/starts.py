"""Whether training got a head past its start, in numbers and in a sentence."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aggregate.training.runs import TrainedRun


def start_facts(runs: Sequence[TrainedRun], model: str = "logistic regression") -> dict[str, Any]:
    """What `metrics.json` says of it under `training`.

    Args:
        runs: Trained.
        model: What heads start at.

    Returns:
        `start` (baseline or plain), `runs`, `validated` (runs that bags not trained on can judge: of the
        validation part, or of inner folds), `past_start` (of those, runs whose cross entropy on such bags
        fell below that of their start), `median_epoch` of the weights kept, where inner folds chose `chosen`
        (how many runs got each rate, and how many stay at their start), and `said`: sentences on it.
    """
    chosen = [run.spec.chosen for run in runs if run.spec.chosen is not None]
    decided = [run for run in runs if run.start is not None or run.spec.inside is not None]
    facts: dict[str, Any] = {
        "start": "baseline" if runs[0].spec.training.starts_at_baseline else "plain",
        "runs": len(runs),
        "validated": len(decided),
        "past_start": sum(passed(run) for run in decided),
        "median_epoch": float(np.median([run.best_epoch for run in runs])),
    }
    if chosen:
        rates = sorted({one.learning_rate for one in chosen if one.epochs})
        facts["chosen"] = {
            f"{rate:g}": sum(one.learning_rate == rate and one.epochs > 0 for one in chosen) for rate in rates
        } | {"start": sum(one.epochs == 0 for one in chosen)}
    return facts | {"said": _said(facts, runs, model)}


def passed(run: TrainedRun) -> bool:
    """Whether bags not trained on say so: inner folds at its last epoch, a validation part at any."""
    inside = run.spec.inside
    if inside is not None:
        return inside.loss < inside.start
    return run.start is not None and min(run.validation, default=np.inf) < run.start


def _said(facts: dict[str, Any], runs: Sequence[TrainedRun], model: str) -> list[str]:
    """Plain sentences on it."""
    spec = runs[0].spec
    notes = []
    if facts["start"] == "plain" and spec.train.start == "baseline":
        notes.append(
            f"start: baseline does not apply to {spec.head.name} with embedding layers, which start as drawn"
        )
    if facts["start"] == "baseline" and not any(run.epochs for run in runs):
        notes.append(f"{spec.head.name} pools in a fixed way and is {model} on what it pools")
    elif "chosen" in facts:
        stay, what = facts["chosen"]["start"], "rate and epochs" if spec.train.auto else "the epochs"
        notes.append(f"inner folds chose {what}; in {stay} of {facts['runs']} runs nothing beat the start")
    elif facts["validated"]:
        where = "validation loss" if spec.inside is None else "loss on bags held out inside training"
        notes.append(f"{where} fell below its start in {facts['past_start']} of {facts['validated']} runs")
        if facts["start"] == "baseline" and 2 * facts["past_start"] < facts["validated"]:
            notes.append(
                f"{spec.head.name} mostly did not get past its start, {model} on what it pools "
                "before it has learnt anything: validation sees nothing that training added"
            )
    return notes
