"""The external cohort of a pipeline: opened before anything is trained, judged when all is done."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from aggregate.cohort.cohort import Cohort
from aggregate.cohort.foreseen import refuse_without_rows
from aggregate.cohort.people import Fold
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.task import Task
from aggregate.config.section import AggregateSection
from aggregate.evaluate.evaluate import Evaluation, evaluate_bundle
from aggregate.evaluate.external import External, external_target, open_external
from aggregate.predict.bundle import Bundle
from aggregate.predict.seen import holders_of, refuse_seen, volumes_of
from aggregate.targets.base import learnt
from aggregate.targets.pairs import Contrast, narrowed
from aggregate.train.familiar import records_of, seen_bags
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.format.header import require_equal
from cache_schema.store.reader import StoreReader


def open_external_cohort(
    pipeline: Pipeline,
    section: AggregateSection,
    store: StoreReader,
    cohort: Cohort,
    folds: Sequence[Fold],
    contrast: Contrast | None = None,
    kind: Task | None = None,
) -> External | None:
    """What `external` names, if it is said: a mistake in it must not wait for the end of a training.

    Args:
        pipeline: Its paths are relative to this.
        section: Says which.
        store: Of the training.
        cohort: Of the training.
        folds: Whoever is on their training side has a part in the bundle.
        contrast: What it is narrowed to, if the training's cohort was.
        kind: Of the target before that.

    Raises:
        StoreMismatch: If its store holds other embeddings.
        SlicecacheError: If store or table cannot be used as asked, or somebody is in both cohorts.
    """
    if section.external is None:
        return None
    spec = section.external.placed(pipeline)
    target = external_target(learnt(kind or cohort.kind), section.target, spec.target)
    with of_external():
        external = open_external(spec, target, pipeline.prove(), cohort.select, cohort.combine)
    require_equal(
        store.header.fingerprint,
        external.store.header.fingerprint,
        f"the training's store (here) holds other embeddings than the external one, {spec.store} (there)",
        "Extract the external cohort as the training's was.",
    )
    seen = volumes_of(records_of(cohort, seen_bags(folds)))
    refuse_seen(external.cohort, seen, holders_of(seen), external.own_ids)
    return external if contrast is None else replace(external, cohort=narrowed(external.cohort, contrast))


def refuse_external_without_rows(pipeline: Pipeline, section: AggregateSection) -> None:
    """Refuse what training would refuse of the external cohort's table, where its store has volumes.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If the table cannot be read, or no volume finds a row.
    """
    if section.external is None:
        return
    spec = section.external.placed(pipeline)
    with of_external():
        refuse_without_rows(spec.request(section.target, SelectSpec(), None), (), spec.store)


@contextmanager
def of_external() -> Iterator[None]:
    """Say of a refusal that it is the external cohort's, which has a `join` of its own.

    Raises:
        SlicecacheError: What was raised inside, of its class.
    """
    try:
        yield
    except SlicecacheError as error:
        raise type(error)(f"aggregate.external: {error}") from error


def judge_outside(
    bundle: Bundle, external: External | None, metrics: dict[str, Any], memory_gib: float | None
) -> Evaluation | None:
    """What a bundle is worth on the external cohort, if there is one; `metrics` get a part `external`."""
    if external is None:
        return None
    found = evaluate_bundle(bundle, external, memory_gib)
    metrics["external"] = found.metrics
    return found
