"""A head as a scikit-learn classifier: one run of the training that the command does."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from aggregate.api.given_bags import InputError
from aggregate.api.head_estimator import HeadEstimator
from aggregate.bags.bags import Bags
from aggregate.cohort.people import People, people_of
from aggregate.common.arrays import Floats, Ints
from aggregate.common.softmax import softmax
from aggregate.common.table_values import value_name
from aggregate.statistics.calibration import Calibration, calibrate
from aggregate.statistics.metrics import by_participant
from aggregate.training.solving.goal import Classes
from aggregate.training.stacked import RunSpec


class HeadClassifier(ClassifierMixin, HeadEstimator):
    """A head on slices, in scikit-learn's conventions.

    `X` is (n, slice, dim) with NaN where there is no slice, `store.tokens()`, a list of (slice, dim), or
    (n, dim), a slice each. It trains as `slicecache train` trains one fold, and gives the same numbers.

    A participant's bags stay together when validation bags are set aside: name participants by
    `fit(..., groups=)`, or give bags of `store.tokens()`, which know theirs. In cross-validation `groups`
    reaches `fit` by metadata routing: `set_fit_request(groups=True)`.

    Args:
        head: A kind (`"attention"`), a mapping as in a pipeline file, or a head of your own; by default
            attention, or what the recipe says.
        loss: As in a pipeline file, e.g. `{"supcon": 1.0}`.
        train: As in a pipeline file, e.g. `{"epochs": 50}`.
        recipe: Sets the three at once; what is given beside it wins.
        seed: Of first weights, batches and the validation part.
        validation: Share of the participants that threshold, temperature and an early stop look at.
        minimum_per_class: With fewer participants in a class there is no validation part, and epochs are
            fixed.

    Attributes:
        classes_: Labels in the order of `predict_proba`.
        attention_: (n, slice) over the bags of `fit`, NaN where there is no slice.
        threshold_: On the second of two classes' probability, for whoever wants balanced decisions; `predict`
            takes the more probable class, as scikit-learn's conventions have it.
        temperature_: Divides logits before the softmax.
        validation_rows_: Bags of `fit` that weights were not fitted on; none where inner folds stand in.
        n_iter_: Epochs trained.
        history_: Losses by epoch.

    Example:
        >>> bags = sc.open("runs/demo/cache.zarr").tokens("cls")
        >>> people = bags.participant_id
        >>> scores = cross_val_score(sc.HeadClassifier(), bags, y, groups=people, cv=GroupKFold(5))
        >>> head = sc.HeadClassifier(head="gated_attention", train={"epochs": 50}).fit(bags, y)
        >>> head.attention(bags[:3])
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train one run.

        Args:
            X: Bags.
            y: A label per bag; all bags of a participant have the same one.
            groups: Participant of every bag; by default what `X` knows, else every bag is somebody's own.

        Raises:
            InputError: If X, y or groups cannot be used; it is a ValueError.
            ConfigError: If head, loss, train or recipe says something that cannot be meant.
        """
        setup, folds = self._setup()
        bags, given = self._given(X, y)
        labels = self._labels(given)
        setup = setup.for_classes([value_name(name) for name in self.classes_])
        people = self._people(X, labels, groups)
        trained = self._train(setup, folds, bags, labels, Classes(len(self.classes_)), people)
        found = self._calibrate(bags, labels, people, trained.spec)
        self.threshold_, self.temperature_ = found.threshold, found.temperature
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of every bag."""
        places: NDArray[np.int64] = self._outputs(X).argmax(axis=1)
        chosen: NDArray[Any] = self.classes_[places]
        return chosen

    def predict_proba(self, X: Any) -> Floats:
        """Calibrated probabilities (n, class)."""
        return softmax(self._outputs(X) / self.temperature_)

    def decision_function(self, X: Any) -> Floats:
        """Logits (n, class); of two classes the second one's minus the first one's (n,)."""
        logits = self._outputs(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _people(self, X: Any, labels: Ints, groups: Any) -> People:
        """Participants of the bags."""
        people = people_of(self._names(X, groups, len(labels)), labels)
        torn = np.flatnonzero(people.y[people.of_bag] != labels)
        if len(torn):
            name = people.names[people.of_bag[torn[0]]]
            raise InputError(f"groups: a participant has one label, but {name!r} has several")
        return people

    def _labels(self, y: NDArray[Any]) -> Ints:
        """Class indices (n,); sets `classes_`."""
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y holds 1 class, {self.classes_.tolist()}; a classifier needs at least two")
        return np.asarray(labels, dtype=np.int64)

    def _calibrate(self, bags: Bags, labels: Ints, people: People, run: RunSpec) -> Calibration:
        """Temperature and threshold from inner folds, or from the validation part."""
        if run.within and run.inside is not None:
            rows, logits = run.train_rows, run.inside.logits
        elif len(run.validation_rows):
            rows = run.validation_rows
            logits, _ = self._apply(bags.take(rows))
        else:
            return calibrate(None)
        names = [people.names[person] for person in people.of_bag[rows]]
        return calibrate(by_participant(names, labels[rows], logits))
