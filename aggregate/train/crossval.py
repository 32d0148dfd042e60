"""Train one configuration on every fold, repeat and seed at once, and score what each left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.bags.bags import Bags
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold, people_of
from aggregate.config.setup import TrainingSetup
from aggregate.statistics.evaluate import OutOfFold
from aggregate.targets.base import goal_of_cohort
from aggregate.train.scoring import score_run
from aggregate.training.stacked import RunSpec, TrainedRun, train_stacked
from cache_schema.common.terminal.progress import Progress


@dataclass(frozen=True, slots=True)
class Trained:
    """One configuration's runs, in the order folds x seeds."""

    outputs: tuple[OutOfFold, ...]
    runs: tuple[TrainedRun, ...]
    attention: NDArray[np.float64]
    """Out-of-fold attention times the number of kept slices, mean over the runs that tested a bag
    (bag, slice); NaN at pads and for bags that no run tested."""


def run_specs(
    setup: TrainingSetup, folds: Sequence[Fold], seeds: int | None = None, calibrated: bool = True
) -> list[RunSpec]:
    """Every fold with every seed.

    Args:
        setup: Head, loss, training and, unless given, the number of seeds.
        folds: To train on.
        seeds: Instead of the setup's.
        calibrated: Whether thresholds and temperatures matter: AUROC alone does not need them.
    """
    return [run_spec(setup, fold, seed, calibrated) for fold in folds for seed in range(seeds or setup.seeds)]


def run_spec(setup: TrainingSetup, fold: Fold, seed: int, calibrated: bool = True) -> RunSpec:
    """One fold with one seed; arguments as in `run_specs`.

    A run that nothing stops early learns from the validation part too, unless a table says who validates.
    """
    whole = not fold.given and setup.train.learns_from_all(setup.head)
    run = RunSpec(
        configuration=setup.name,
        repeat=fold.repeat,
        fold=fold.fold,
        seed=seed,
        head=setup.head,
        loss=setup.loss,
        train=setup.train,
        train_rows=fold.inside if whole else fold.train,
        validation_rows=fold.validation[:0] if whole else fold.validation,
        within=whole and (len(fold.validation) > 0 or setup.loss.learns_by_heart),
    )
    return run if calibrated or run.chooses else replace(run, within=False)


def cross_validate(
    setup: TrainingSetup,
    cohort: Cohort,
    bags: Bags,
    folds: Sequence[Fold],
    progress: Progress | None = None,
    calibrated: bool = True,
) -> Trained:
    """Train on every fold and score its test part with a calibration from inside its training part.

    Args:
        setup: What is trained.
        cohort: Gives labels, weights and participants.
        bags: All bags of the cohort.
        folds: To train on.
        progress: Called with (run-epochs done, run-epochs at most).
        calibrated: As in `run_specs`.
    """
    specs = run_specs(setup, folds, calibrated=calibrated and cohort.kind.calibrates)
    # Copies: pandas hands out arrays that torch may not own.
    y, weight = torch.tensor(cohort.outcomes), torch.tensor(cohort.weight, dtype=bags.x.dtype)
    goal = goal_of_cohort(cohort, setup.loss)
    people = people_of(cohort.participants.tolist(), cohort.y).of_bag
    runs = train_stacked(bags, y, weight, goal, specs, bags.x.dtype, progress, group=people, strata=cohort.y)
    head = setup.head.build(bags.x.shape[2], goal.n_outputs)
    by_fold = [fold for fold in folds for _ in range(setup.seeds)]
    attention = _Attention(bags)
    outputs = []
    for run, fold in zip(runs, by_fold, strict=True):
        scored = score_run(head, run, cohort, bags, fold)
        attention.add(fold.test, scored.attention)
        outputs.append(scored.output)
    return Trained(tuple(outputs), tuple(runs), attention.mean())


class _Attention:
    """A running mean of out-of-fold attention."""

    def __init__(self, bags: Bags) -> None:
        self.keep = bags.keep.numpy()
        self.total = np.zeros(self.keep.shape)
        self.count = np.zeros(len(self.keep))

    def add(self, rows: NDArray[np.int64], attention: NDArray[np.float64]) -> None:
        """Add one run's attention over its test bags (bag, slice)."""
        # Taking bags drops slices that none of them has, so the attention may be shorter than the cohort's.
        self.total[rows, : attention.shape[1]] += attention * self.keep[rows].sum(axis=1, keepdims=True)
        self.count[rows] += 1

    def mean(self) -> NDArray[np.float64]:
        """Mean over runs, NaN where there is none."""
        tested = (self.count > 0)[:, None] & self.keep
        return np.where(tested, self.total / np.maximum(self.count, 1)[:, None], np.nan)
