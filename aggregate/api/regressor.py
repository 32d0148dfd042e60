"""A head as a scikit-learn regressor: one run of the training that the command does."""

from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin

from aggregate.api.given_bags import InputError
from aggregate.api.head_estimator import HeadEstimator
from aggregate.cohort.people import People, people_of
from aggregate.common.arrays import Floats
from aggregate.targets.regression import Regression


class HeadRegressor(RegressorMixin, HeadEstimator):
    """A head on slices that predicts a number, in scikit-learn's conventions.

    `X` and `groups` are as of `HeadClassifier`. It trains as `slicecache train` trains one fold of
    `target: {task: regression}`, its inner folds dealt by the numbers that it is given, and predicts in the
    unit of `y`. Bags of one participant may have different numbers, such as ages.

    Args:
        head: A kind (`"attention"`), a mapping as in a pipeline file, or a head of your own; by default
            attention, or what the recipe says.
        loss: As in a pipeline file, e.g. `{"huber": 1.0}`; by default the squared error.
        train: As in a pipeline file, e.g. `{"epochs": 50}`.
        recipe: Sets the three at once; what is given beside it wins.
        seed: Of first weights, batches and the validation part.
        validation: Share of the participants that an early stop looks at.
        minimum_per_class: With fewer than twice as many participants there is no validation part.

    Attributes:
        attention_: (n, slice) over the bags of `fit`, NaN where there is no slice.
        validation_rows_: Bags of `fit` that weights were not fitted on; none where inner folds stand in.
        n_iter_: Epochs trained.
        history_: Losses by epoch.

    Example:
        >>> bags = sc.open("runs/demo/cache.zarr").tokens("cls")
        >>> people = bags.participant_id
        >>> scores = cross_val_score(sc.HeadRegressor(), bags, age, groups=people, cv=GroupKFold(5))
    """

    _target: ClassVar[Any] = {"column": "given", "task": "regression"}
    _numeric: ClassVar[bool] = True

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train one run.

        Args:
            X: Bags.
            y: A number per bag.
            groups: Participant of every bag; by default what `X` knows, else every bag is somebody's own.

        Raises:
            InputError: If X, y or groups cannot be used; it is a ValueError.
            ConfigError: If head, loss, train or recipe says something that cannot be meant.
        """
        setup, folds = self._setup()
        bags, given = self._given(X, y)
        numbers = _numbers(given)
        people = _people(self._names(X, groups, len(numbers)), numbers)
        self._train(setup, folds, bags, numbers, Regression().goal(setup.loss), people)
        return self

    def predict(self, X: Any) -> Floats:
        """The number of every bag (n,)."""
        return self._outputs(X)[:, 0]


def _numbers(y: Any) -> Floats:
    """In double precision (n,).

    Raises:
        InputError: If they are none.
    """
    try:
        numbers = np.array(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y holds what is no number ({error}); labels are for HeadClassifier") from error
    if not np.isfinite(numbers).all():
        raise InputError("y contains NaN or infinity; leave these bags out")
    return numbers


def _people(names: list[str], numbers: Floats) -> People:
    """Participants, with the strata of their mean numbers that a study deals folds by."""
    of_bag = people_of(names, np.zeros(len(names), dtype=np.int64)).of_bag
    strata, _ = Regression().stratify(numbers[:, None], of_bag)
    return replace(people_of(names, strata), labelled=False)
