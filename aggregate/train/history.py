"""The losses of every run by epoch: `figures/learning.csv`, and the curves of the report."""

from collections.abc import Sequence

import pandas as pd

from aggregate.training.runs import VALIDATION, TrainedRun

RUN = ("repeat", "fold", "seed")


def history_of(runs: Sequence[TrainedRun]) -> pd.DataFrame:
    """A row per run and epoch: repeat, fold, seed, epoch, train_loss, what was watched, kept.

    `train_loss` is the weighted objective. What was watched (`validation_cross_entropy`, or another) is empty
    for runs without a validation part; it has a row for epoch 0, the start. `kept` marks the epoch whose
    weights a run leaves.
    """
    return pd.DataFrame([row for run in runs for row in _rows(run)])


def _rows(run: TrainedRun) -> list[dict[str, object]]:
    place = dict(zip(RUN, (run.spec.repeat, run.spec.fold, run.spec.seed), strict=True))
    names = list(run.history)
    watched = next((name for name in names if name.startswith(VALIDATION)), None)
    rows: list[dict[str, object]] = []
    if run.start is not None and watched is not None and run.epochs:
        rows.append({**place, "epoch": 0, watched: run.start})
    for epoch in range(run.epochs):
        rows.append({**place, "epoch": epoch + 1, **{name: run.history[name][epoch] for name in names}})
    return [{**row, "kept": row["epoch"] == run.best_epoch} for row in rows]
