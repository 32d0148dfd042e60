"""Another cohort, opened: its labels are the training's classes, and nobody in it was in training."""

from dataclasses import dataclass

from aggregate.bags.beside import Beside, open_beside
from aggregate.cohort.cohort import Cohort, load_cohort
from aggregate.cohort.narrowing import read_cohort_table
from aggregate.cohort.request import Combine
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.task import TargetBase
from aggregate.evaluate.joined import join_advised
from aggregate.evaluate.spec import ExternalSpec
from aggregate.predict.bundle import BundleCard
from aggregate.targets.base import LearntTask
from aggregate.targets.registry import parse_target
from cache_schema.common.errors import ConfigError
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
    spec: ExternalSpec,
    target: TargetBase,
    prove: Prove,
    select: SelectSpec,
    combine: Combine | None,
    store: StoreReader | None = None,
) -> External:
    """Open store and table and join them.

    Args:
        spec: With absolute paths.
        target: With every class written out.
        prove: What numbers are held to.
        select: The training's.
        combine: The training's.
        store: That of the spec, where it is open already.

    Raises:
        SlicecacheError: If one of them cannot be used as asked.
    """
    store = open_store(spec.store, prove) if store is None else store
    cohort = load_cohort(spec.request(target, select, combine), store)
    return External(store, cohort, spec.own_ids, open_beside(spec.stores, prove))


def require_labels(card: BundleCard, spec: ExternalSpec) -> None:
    """Read the table before anything takes long: a mistake in it must not cost the embedding of a cohort.

    Raises:
        SlicecacheError: If the table or the target cannot be read.
    """
    target = external_target(card.kind, trained_target(card), spec.target)
    request = spec.request(target, card.select, card.combine)
    with join_advised(card, spec):
        table = read_cohort_table(request)
        table.require(request.join.participant, "join.participant")
    target.read(table, request.missing)


def trained_target(card: BundleCard) -> TargetBase | None:
    """The target that a bundle was trained for, if its card says it.

    Raises:
        ConfigError: If what it says is none.
    """
    said = card.training.get("target")
    return None if said is None else parse_target(said, "training.target of the bundle")


def external_target(task: LearntTask, trained: TargetBase | None, given: TargetBase | None) -> TargetBase:
    """The target as it is read in another table: the training's, whatever column and values.

    Args:
        task: Of the training.
        trained: The training's target.
        given: What the user says of the other table.

    Raises:
        ConfigError: If nothing names the column, or it is another target.
    """
    spec = given or trained
    if spec is None:
        raise ConfigError("the bundle does not say which column it was trained for; give target")
    return task.elsewhere(spec, given, trained)
