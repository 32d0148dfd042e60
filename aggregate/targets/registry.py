"""The registry of targets: `target: {column: age, task: regression}`, or a column's name alone for classes.

A new kind is one new file, which holds its spec and its task, and its name in `TargetSpec` here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Discriminator, Tag

from aggregate.targets.base import LearntSpec, LearntTask
from aggregate.targets.classification import ClassificationSpec
from aggregate.targets.ordinal import OrdinalSpec
from aggregate.targets.regression import RegressionSpec
from aggregate.targets.survival import SurvivalSpec
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from cache_schema.common.short_forms import reads
from cache_schema.common.text.mistakes import suggest

AnyTarget = (
    Annotated[ClassificationSpec, Tag("classification")]
    | Annotated[OrdinalSpec, Tag("ordinal")]
    | Annotated[RegressionSpec, Tag("regression")]
    | Annotated[SurvivalSpec, Tag("survival")]
)
"""Every kind, by its task."""
SPECS: dict[str, type[LearntSpec]] = {
    tag.tag: spec for spec, tag in (get_args(member) for member in get_args(AnyTarget))
}
"""By task."""
USUAL = "classification"
"""The task of a target that says none."""


def _task(value: Any) -> Any:
    return value.get("task") if isinstance(value, Mapping) else getattr(value, "task", None)


@reads({"type": "string"})
def read_target(value: Any) -> Any:
    """Read a bare column name, and a target whose task is not said as one of classes.

    Raises:
        ValueError: If it is no target, or there is no such task.
    """
    if isinstance(value, str):
        value = {"column": value}
    if isinstance(value, LearntSpec):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"a mapping is expected, not {type(value).__name__}")
    task = value.get("task", USUAL)
    if not isinstance(task, str) or task not in SPECS:
        raise ValueError(f"task: there is no {task!r}{suggest(str(task), list(SPECS))}")
    return {**value, "task": task}


TargetSpec = Annotated[Annotated[AnyTarget, Discriminator(_task)], BeforeValidator(read_target)]
"""Any of them, as a pipeline file says it."""


def parse_target(value: Any, where: str) -> LearntSpec:
    """Validate a target that a file says.

    Raises:
        ConfigError: If it is none.
    """
    try:
        read = read_target(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    return validate(spec_of(read), read, where)


def spec_of(target: Any) -> type[LearntSpec]:
    """The spec of a raw target's task; of classes where it says none that is known."""
    said = _task(target)
    return SPECS.get(said, SPECS[USUAL]) if isinstance(said, str) else SPECS[USUAL]


def task_named(name: str, classes: tuple[str, ...]) -> LearntTask:
    """A kind of target from what a bundle keeps of it."""
    return SPECS[name].kept(classes)


def with_usual_loss(data: Mapping[str, Any], explicit: Any) -> dict[str, Any]:
    """A raw section with the loss of its target where it names none.

    Args:
        data: With its recipe laid under it.
        explicit: The loss as the file says it, before the recipe.
    """
    loss, spec = data.get("loss", {}), spec_of(data.get("target"))
    if spec.usual_loss == LearntSpec.usual_loss or not isinstance(loss, Mapping):
        return dict(data)
    named = explicit if isinstance(explicit, Mapping) else {}
    found = dict(loss)
    if LearntSpec.usual_loss not in named:
        found[LearntSpec.usual_loss] = 0.0
    if not any(name in named for name in spec.losses):
        found[spec.usual_loss] = 1.0
    return {**data, "loss": found}
