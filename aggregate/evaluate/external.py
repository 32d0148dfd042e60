"""Another cohort, opened: its labels are the training's classes, and nobody in it was in training."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregate.bags.beside import Beside, open_beside
from aggregate.cohort.cohort import Cohort, load_cohort
from aggregate.cohort.request import Combine
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.table.target import TargetSpec
from aggregate.common.table_values import listed
from aggregate.evaluate.spec import ExternalSpec
from aggregate.predict.bundle import BundleCard
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from cache_schema.common.prove import Prove
from cache_schema.store.reader import StoreReader, open_store


@dataclass(frozen=True, slots=True)
class External:
    """A cohort with labels and the store of its embeddings."""

    store: StoreReader
    cohort: Cohort
    own_ids: bool
    beside: Beside
    """Other stores of its volumes."""


def open_external(
    spec: ExternalSpec, target: TargetSpec, prove: Prove, select: SelectSpec, combine: Combine | None
) -> External:
    """Open store and table and join them.

    Args:
        spec: With absolute paths.
        target: With every class written out.
        prove: What numbers are held to.
        select: The training's.
        combine: The training's.

    Raises:
        SlicecacheError: If one of them cannot be used as asked.
    """
    store = open_store(spec.store, prove)
    cohort = load_cohort(spec.request(target, select, combine), store)
    return External(store, cohort, spec.own_ids, open_beside(spec.stores, prove))


def trained_target(card: BundleCard) -> TargetSpec | None:
    """The target that a bundle was trained for, if its card says it.

    Raises:
        ConfigError: If what it says is none.
    """
    said = card.training.get("target")
    return None if said is None else validate(TargetSpec, said, "training.target of the bundle")


def external_target(
    classes: Sequence[str], positive: str | None, trained: TargetSpec | None, given: TargetSpec | None
) -> TargetSpec:
    """The target as it is read in another table: the training's classes, whatever column and values.

    Args:
        classes: Of the training.
        positive: Of two.
        trained: The training's target.
        given: What the user says of the other table.

    Raises:
        ConfigError: If nothing names the column, or the classes are others.
    """
    spec = given or trained
    if spec is None:
        raise ConfigError("the bundle does not say which column it was trained for; give target")
    written = next((s.classes for s in (given, trained) if s is not None and s.classes is not None), None)
    values = written or {name: (name,) for name in classes}
    if set(values) != set(classes):
        raise ConfigError(
            f"external.target.classes must name the training's classes {listed(list(classes))}, not "
            f"{listed(list(values))}"
        )
    if given is not None and given.positive not in (None, positive):
        raise ConfigError(f"external.target.positive is {given.positive!r}; training had {positive!r}")
    return TargetSpec(column=spec.column, classes={n: values[n] for n in classes}, positive=positive)
