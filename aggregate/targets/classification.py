"""Classes: which there are in a column, which is positive, and who has none."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, model_validator

from aggregate.cohort.checks import refuse_empty_class, refuse_torn
from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.join import LeftOut
from aggregate.cohort.task import Metric, Outcomes, Target, TargetBase
from aggregate.common.arrays import Floats, Ints
from aggregate.common.labels import Label, Labels, read_text_keys
from aggregate.common.softmax import softmax
from aggregate.common.table_values import listed, nearest
from aggregate.losses.registry import LossSpec
from aggregate.statistics.evaluate import AUROC
from aggregate.statistics.metrics import BINARY, BOUNDS, Scores, measure
from aggregate.targets.base import LearntSpec, LearntTask, require_same_task
from aggregate.targets.class_names import Cells, named_values, refuse_shared, same_classes
from aggregate.targets.positive import usual_positive
from aggregate.targets.question import Question, class_questions
from aggregate.training.solving.goal import Classes, Goal
from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import later

TITLES = {"auprc": "AUPRC", "mcc": "MCC", "f1": "F1", "brier": "Brier"}


class ClassificationSpec(LearntSpec):
    """Classes without an order."""

    classes: Annotated[dict[str, Labels] | None, BeforeValidator(read_text_keys)] = None
    """Class name -> the values of the column that it stands for; other values are left out, e.g.
    `{CN: [CN], AD: [Dementia, AD]}`."""
    positive: Label | None = None
    """The positive one of two classes. By default the last of `classes` if those are written out; else the
    one that is not a word for controls (control, healthy, CN, 0, no, ...); else the last in order, e.g.
    `AD`."""
    task: Literal["classification"] = "classification"
    pairs: Literal["all"] | tuple[tuple[Label, Label], ...] | None = later(None)
    """Of more than two classes two at a time are also trained against each other (`targets/pairs.py`): `all`,
    or those listed, the positive one of each last."""

    @classmethod
    def kept(cls, classes: tuple[str, ...]) -> LearntTask:
        """Of these classes."""
        return Classification(classes)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        refuse_shared(self.classes or {})
        return self

    def read(self, table: CohortTable, missing: Sequence[str] = ()) -> Target:
        """Give every row its class; classes that are not written out are the values that occur."""
        cells = Cells(self.column, table, missing)
        of_value = named_values(self.column, self.classes, cells.present, table)
        names = list(dict.fromkeys(of_value.values()))
        classes, notes = _positive_last(self, names, cells.present)
        task = Classification(classes)
        return Target(cells.column, task, *cells.placed(of_value, classes), notes)


class Classification(LearntTask):
    """Two classes, the positive one last, or more."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        AUROC,
        *(
            Metric(
                name,
                TITLES.get(name, name.replace("_", " ")),
                *BOUNDS.get(name, (0.0, 1.0)),
                lower_is_better=name == "brier",
            )
            for name in BINARY
            if name != AUROC.name
        ),
    )
    key: ClassVar[str] = "classification"
    names: ClassVar[tuple[str, ...]] = ("binary", "multiclass")
    shown_metrics: ClassVar[tuple[str, ...]] = ("auroc", "auprc", "balanced_accuracy", "brier")
    bar: ClassVar[str] = "mean_pool_logistic"
    calibrates: ClassVar[bool] = True

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.name = "binary" if len(classes) == 2 else "multiclass"

    def stratify(self, values: Floats, of_bag: Ints) -> tuple[Ints, tuple[str, ...]]:
        """By class."""
        return self.outcomes(values), self.classes

    def check(
        self, values: Floats, participants: Sequence[str], column: str, left_out: Sequence[LeftOut]
    ) -> None:
        """Every class needs a volume, and a participant has one class."""
        refuse_empty_class(self.outcomes(values), self.classes, column, left_out)
        refuse_torn(participants, self.outcomes(values))

    def outcomes(self, values: Floats) -> Ints:
        """Class indices (row,)."""
        return np.asarray(values[:, 0], dtype=np.int64)

    def measure(
        self, y: Outcomes, said: Floats, threshold: float = 0.5, temperature: float = 1.0
    ) -> dict[str, float]:
        """As `statistics.metrics` has it."""
        return measure(Scores((), y, said), threshold, temperature)

    def groups(self, y: Outcomes) -> Ints:
        """Class by class, so that no sample loses one."""
        return np.asarray(y, dtype=np.int64)

    def said(self, outputs: Floats) -> Floats:
        """Logits."""
        return outputs

    def columns(self, said: Floats, threshold: float, temperature: float) -> Mapping[str, Any]:
        """Logits, the softmax of them over the temperature, and the threshold."""
        p = softmax(said / temperature)
        found = {f"logit_{name}": said[:, c] for c, name in enumerate(self.classes)}
        return {
            **found,
            **{f"p_{name}": p[:, c] for c, name in enumerate(self.classes)},
            "threshold": threshold,
        }

    def shown(self, values: Floats) -> list[Any]:
        """Names of classes."""
        return [self.classes[int(value)] for value in values[:, 0]]

    def facts(self) -> dict[str, Any]:
        """Classes, and which is positive."""
        positive = self.classes[-1] if self.name == "binary" else None
        return {"classes": list(self.classes), "positive": positive}

    def goal(self, loss: LossSpec | None = None) -> Goal:
        """A logit per class."""
        return Classes(len(self.classes))

    def questions(self, column: str, values: Floats, n_outputs: int) -> tuple[Question, ...]:
        """Of the positive class, or of each of several."""
        return class_questions(self.classes, values[:, 0])

    def elsewhere(self, spec: TargetBase, given: TargetBase | None, trained: TargetBase | None) -> TargetBase:
        """The training's classes, whatever values stand for them there."""
        require_same_task(self, given)
        said = [one for one in (given, trained) if isinstance(one, ClassificationSpec)]
        values = same_classes(self.classes, [one.classes for one in said])
        positive = self.classes[-1] if self.name == "binary" else None
        if isinstance(given, ClassificationSpec) and given.positive not in (None, positive):
            raise ConfigError(f"external.target.positive is {given.positive!r}; training had {positive!r}")
        return ClassificationSpec(column=spec.column, classes=values, positive=positive)


def _positive_last(
    spec: ClassificationSpec, names: Sequence[str], present: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Order of the classes, and the sentence that says which is positive when nobody chose it."""
    if len(names) > 2:
        if spec.positive is not None:
            raise ConfigError(
                f"target.positive is for two classes, and there are {len(names)}: {listed(names)}"
            )
        return tuple(names), ()
    if spec.positive is not None:
        if spec.positive not in names:
            raise ConfigError(
                f"target.positive {spec.positive!r} is not a class{nearest(spec.positive, list(names))}"
            )
        return (next(n for n in names if n != spec.positive), spec.positive), ()
    positive, why = usual_positive(names, written_out=spec.classes is not None)
    other = next(name for name in names if name != positive)
    return (other, positive), (f"positive class: {positive!r} ({why}; target.positive chooses otherwise)",)


ClassificationSpec.task_class = Classification
