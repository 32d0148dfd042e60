"""A head as a scikit-learn classifier: one run of the training that the command does."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from aggregate.api.given_bags import InputError, bags_of, is_bags, one_slice_each, participants_of
from aggregate.bags.bags import Bags
from aggregate.cohort.folds import validation_part
from aggregate.cohort.people import Fold, FoldSpec, People, people_of
from aggregate.common.arrays import Floats
from aggregate.common.softmax import softmax
from aggregate.common.table_values import value_name
from aggregate.config.section import parse_section
from aggregate.config.setup import TrainingSetup
from aggregate.statistics.calibration import Calibration, calibrate
from aggregate.statistics.metrics import by_participant
from aggregate.train.crossval import run_spec
from aggregate.training.stacked import RunSpec, apply_head, train_stacked

FLOATS = [np.float64, np.float32]
"""What 2-D input may stay in until it becomes float32."""


class HeadClassifier(ClassifierMixin, BaseEstimator):
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
        bags, labels = self._labelled_bags(X, y)
        setup = setup.for_classes([value_name(name) for name in self.classes_])
        people = self._people(X, labels, groups)
        fold = _inner_fold(people, folds)
        weight = 1 / np.bincount(people.of_bag)[people.of_bag]
        run = run_spec(setup, fold, self.seed)
        (trained,) = train_stacked(
            bags,
            torch.from_numpy(labels),
            torch.from_numpy(weight).to(bags.x.dtype),
            len(self.classes_),
            [run],
            bags.x.dtype,
            group=people.of_bag,
        )
        self.head_, self.state_ = setup.head, trained.state
        self.n_iter_, self.best_epoch_, self.history_ = trained.epochs, trained.best_epoch, trained.history
        found = self._calibrate(bags, labels, people, trained.spec)
        self.threshold_, self.temperature_ = found.threshold, found.temperature
        self.validation_rows_, self.attention_ = run.validation_rows, self._apply(bags)[1]
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of every bag."""
        places: NDArray[np.int64] = self._logits(X).argmax(axis=1)
        chosen: NDArray[Any] = self.classes_[places]
        return chosen

    def predict_proba(self, X: Any) -> Floats:
        """Calibrated probabilities (n, class)."""
        return softmax(self._logits(X) / self.temperature_)

    def decision_function(self, X: Any) -> Floats:
        """Logits (n, class); of two classes the second one's minus the first one's (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def attention(self, X: Any) -> Floats:
        """Attention (n, slice): sums to 1 over a bag's slices, NaN where there is no slice."""
        return self._apply(self._bags(X))[1]

    def _logits(self, X: Any) -> Floats:
        return self._apply(self._bags(X))[0]

    def _apply(self, bags: Bags) -> tuple[Floats, Floats]:
        """Logits (n, class) and attention (n, slice)."""
        head = self.head_.build(self.n_features_in_, len(self.classes_))
        found = apply_head(head, [self.state_], bags)
        attention = found.attention[0].double().masked_fill(~bags.keep, torch.nan)
        return found.logits[0].double().numpy(), attention.numpy()

    def _setup(self) -> tuple[TrainingSetup, FoldSpec]:
        """Parameters as a pipeline file would say them, validated by what validates that."""
        said = {"head": self.head, "loss": self.loss, "train": self.train, "recipe": self.recipe}
        if isinstance(self.head, str):
            said["head"] = {"kind": self.head}
        given = {name: value for name, value in said.items() if value is not None}
        inner = {
            "seed": self.seed,
            "validation": self.validation,
            "minimum_per_class": self.minimum_per_class,
        }
        section = parse_section({**given, "folds": inner, "cohort": "given", "target": "given"})
        return section.setup(), section.folds

    def _people(self, X: Any, labels: NDArray[np.int64], groups: Any) -> People:
        """Participants of the bags."""
        given = participants_of(X) if groups is None else groups
        names = np.arange(len(labels)) if given is None else column_or_1d(given)
        if len(names) != len(labels):
            raise InputError(f"groups names {len(names)} participants of {len(labels)} bags")
        people = people_of([str(name) for name in names], labels)
        torn = np.flatnonzero(people.y[people.of_bag] != labels)
        if len(torn):
            name = people.names[people.of_bag[torn[0]]]
            raise InputError(f"groups: a participant has one label, but {name!r} has several")
        return people

    def _labelled_bags(self, X: Any, y: Any) -> tuple[Bags, NDArray[np.int64]]:
        """X as bags and y as class indices; sets what is fitted about both."""
        if is_bags(X):
            if y is None:
                raise InputError("HeadClassifier requires y to be passed, but the target y is None")
            bags = bags_of(X)
            self.n_features_in_ = int(bags.x.shape[2])
        else:
            x, y = validate_data(self, X, y, dtype=FLOATS)
            bags = one_slice_each(x)
        return bags, self._labels(y, len(bags))

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

    def _labels(self, y: Any, n: int) -> NDArray[np.int64]:
        """Class indices (n,); sets `classes_`."""
        check_classification_targets(y)
        own = column_or_1d(y, warn=True)
        if len(own) != n:
            raise InputError(f"y has {len(own)} labels for {n} bags")
        self.classes_, labels = np.unique(own, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y holds 1 class, {self.classes_.tolist()}; a classifier needs at least two")
        return np.asarray(labels, dtype=np.int64)

    def _calibrate(self, bags: Bags, labels: NDArray[np.int64], people: People, run: RunSpec) -> Calibration:
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
    inside = validation_part(people.y, spec, np.random.default_rng([spec.seed, 0, 0, 1]))
    rows = np.arange(len(people.names))
    nobody = np.array([], dtype=np.int64)
    return Fold(0, 0, people.bags(rows[~inside]), people.bags(rows[inside]), nobody)
