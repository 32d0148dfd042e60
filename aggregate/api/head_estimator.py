"""What heads as scikit-learn estimators share: bags of X, participants, one run as the command trains it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from aggregate.api.given_bags import InputError, bags_of, is_bags, one_slice_each, participants_of
from aggregate.bags.bags import Bags
from aggregate.cohort.folds import validation_part
from aggregate.cohort.people import Fold, FoldSpec, People
from aggregate.common.arrays import Floats, Ints
from aggregate.config.section import parse_section
from aggregate.config.setup import TrainingSetup
from aggregate.train.crossval import run_spec
from aggregate.training.solving.goal import Goal
from aggregate.training.stacked import TrainedRun, apply_head, train_stacked

FLOATS = [np.float64, np.float32]
"""What 2-D input may stay in until it becomes float32."""


class HeadEstimator(BaseEstimator):
    """A head on slices; see `HeadClassifier` and `HeadRegressor`."""

    _target: ClassVar[Any] = "given"
    """What a pipeline file would say of y."""
    _numeric: ClassVar[bool] = False
    """Whether y is numbers."""

    def __init__(
        self,
        head: Any = None,
        *,
        loss: Mapping[str, Any] | None = None,
        train: Mapping[str, Any] | None = None,
        recipe: str | None = None,
        seed: int = 0,
        validation: float = 0.2,
        minimum_per_class: int = 20,
    ) -> None:
        self.head = head
        self.loss = loss
        self.train = train
        self.recipe = recipe
        self.seed = seed
        self.validation = validation
        self.minimum_per_class = minimum_per_class

    def attention(self, X: Any) -> Floats:
        """Attention (n, slice): sums to 1 over a bag's slices, NaN where there is no slice."""
        return self._apply(self._bags(X))[1]

    def _train(
        self, setup: TrainingSetup, folds: FoldSpec, bags: Bags, y: NDArray[Any], goal: Goal, people: People
    ) -> TrainedRun:
        """One run; sets what is fitted, but for what is said of y.

        Args:
            setup: What is trained.
            folds: Seed and share of the validation part.
            bags: All bags.
            y: What is predicted of each.
            goal: What is learnt of it.
            people: Whose the bags are, with what the validation part is drawn by.
        """
        fold = _inner_fold(people, folds)
        weight = 1 / np.bincount(people.of_bag)[people.of_bag]
        run = run_spec(setup, fold, self.seed, calibrated=people.labelled)
        (trained,) = train_stacked(
            bags,
            torch.from_numpy(y),
            torch.from_numpy(weight).to(bags.x.dtype),
            goal,
            [run],
            bags.x.dtype,
            group=people.of_bag,
            strata=people.y[people.of_bag],
        )
        self.head_, self.state_, self.n_outputs_ = setup.head, trained.state, goal.n_outputs
        self.n_iter_, self.best_epoch_, self.history_ = trained.epochs, trained.best_epoch, trained.history
        self.validation_rows_, self.attention_ = run.validation_rows, self._apply(bags)[1]
        return trained

    def _outputs(self, X: Any) -> Floats:
        return self._apply(self._bags(X))[0]

    def _apply(self, bags: Bags) -> tuple[Floats, Floats]:
        """Outputs (n, output) and attention (n, slice)."""
        head = self.head_.build(self.n_features_in_, self.n_outputs_)
        found = apply_head(head, [self.state_], bags)
        attention = found.attention[0].double().masked_fill(~bags.keep, torch.nan)
        return found.logits[0].double().numpy(), attention.numpy()

    def _setup(self) -> tuple[TrainingSetup, FoldSpec]:
        """Parameters as a pipeline file would say them, validated by what validates that."""
        said = {"head": self.head, "loss": self.loss, "train": self.train, "recipe": self.recipe}
        given = {name: value for name, value in said.items() if value is not None}
        inner = {
            "seed": self.seed,
            "validation": self.validation,
            "minimum_per_class": self.minimum_per_class,
        }
        section = parse_section({**given, "folds": inner, "cohort": "given", "target": self._target})
        return section.setup(), section.folds

    def _names(self, X: Any, groups: Any, n: int) -> list[str]:
        """The participant of every bag; without groups every bag is somebody's own."""
        given = participants_of(X) if groups is None else groups
        names = np.arange(n) if given is None else column_or_1d(given)
        if len(names) != n:
            raise InputError(f"groups names {len(names)} participants of {n} bags")
        return [str(name) for name in names]

    def _given(self, X: Any, y: Any) -> tuple[Bags, NDArray[Any]]:
        """X as bags and y as it is, one for each; sets `n_features_in_`."""
        if is_bags(X):
            if y is None:
                raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
            bags = bags_of(X)
            self.n_features_in_ = int(bags.x.shape[2])
        else:
            x, y = validate_data(self, X, y, dtype=FLOATS, y_numeric=self._numeric)
            bags = one_slice_each(x)
        own = column_or_1d(y, warn=True)
        if len(own) != len(bags):
            raise InputError(f"y has {len(own)} labels for {len(bags)} bags")
        return bags, own

    def _bags(self, X: Any) -> Bags:
        """X as bags of tokens as they were fitted."""
        check_is_fitted(self)
        if not is_bags(X):
            return one_slice_each(validate_data(self, X, reset=False, dtype=FLOATS))
        bags = bags_of(X)
        if (dim := int(bags.x.shape[2])) != self.n_features_in_:
            raise InputError(
                f"X has {dim} numbers per token, but the head was fitted on {self.n_features_in_}"
            )
        return bags

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "head_" in state:
            # In another process nobody has handed over yet the objects that a custom part stands for.
            self._setup()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _inner_fold(people: People, spec: FoldSpec) -> Fold:
    """All bags, the validation part set aside as in the first fold of a study."""
    stream = np.random.default_rng([spec.seed, 0, 0, 1])
    inside = validation_part(people.y, spec, stream, people.labelled)
    rows = np.arange(len(people.names))
    nobody: Ints = np.array([], dtype=np.int64)
    return Fold(0, 0, people.bags(rows[~inside]), people.bags(rows[inside]), nobody)
