"""What one training is about, opened and checked before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aggregate.bags.bags import Bags
from aggregate.bags.beside import Beside, open_beside
from aggregate.bags.memory import open_bags
from aggregate.bags.views import with_views
from aggregate.baselines.baselines import mean_pool
from aggregate.cohort.cohort import Cohort, load_cohort
from aggregate.cohort.folds import make_folds
from aggregate.cohort.people import Fold
from aggregate.common.arrays import Floats
from aggregate.common.run_folder import place_of_pair, verb_folder
from aggregate.config.section import AggregateSection
from aggregate.config.setup import TrainingSetup
from aggregate.evaluate.external import External
from aggregate.harmonise.harmoniser import Harmoniser, harmoniser_of
from aggregate.targets.pairs import Contrast, contrasts_of, narrowed
from aggregate.train.external import open_external_cohort
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.files.disk.room import require_writable
from cache_schema.store.reader import StoreReader, open_store


@dataclass(frozen=True, slots=True)
class Case:
    """One cohort, or two of its classes, with what is trained on it."""

    pipeline: Pipeline
    section: AggregateSection
    setup: TrainingSetup
    folder: Path
    """Where its files go."""
    store: StoreReader
    cohort: Cohort
    folds: Sequence[Fold]
    external: External | None
    contrast: Contrast | None


@dataclass(frozen=True, slots=True)
class CaseTokens:
    """The tokens of a case."""

    beside: Beside
    """Further stores that they are read from."""
    bags: Bags
    pooled: Floats
    """Mean over kept slices (bag, dim)."""
    harmoniser: Harmoniser | None


def open_case(pipeline: Pipeline, section: AggregateSection, contrast: Contrast | None) -> Case:
    """Open store and tables and deal the folds.

    Raises:
        SlicecacheError: If something cannot be used as asked.
    """
    name = None if contrast is None else contrast.name
    folder = place_of_pair(verb_folder(pipeline.folder(), "train"), name)
    require_writable(folder, "the run folder")
    store = open_store(section.home(pipeline)[0], pipeline.prove())
    section = section.for_store(store.header)
    tokens = section.home(pipeline)[1]
    whole = load_cohort(section.cohort_request(pipeline), store)
    contrasts_of(section.target, whole.classes)  # what cannot be meant is said before anything is trained
    cohort = whole if contrast is None else narrowed(whole, contrast)
    folds = make_folds(cohort, section.folds, section.leave_group_out)
    external = open_external_cohort(pipeline, section, store, cohort, folds, contrast, whole.kind)
    setup = replace(section.setup(), tokens=tokens).for_classes(cohort.classes, whole.classes)
    return Case(pipeline, section, setup, folder, store, cohort, folds, external, contrast)


def open_tokens(case: Case) -> CaseTokens:
    """Read the tokens, or where they lie, and learn what harmonises them."""
    section, cohort, tokens = case.section, case.cohort, case.setup.tokens
    beside = open_beside(section.beside(case.pipeline, tokens), case.pipeline.prove())
    bags = open_bags(case.store, tokens, cohort.entries, cohort.bag, section.memory_gib, beside)
    bags = with_views(
        bags,
        section.test_views,
        case.store,
        beside,
        tokens,
        cohort.entries,
        lambda other, own: open_bags(other, tokens, own, cohort.bag, section.memory_gib),
    )
    pooled = mean_pool(bags)
    harmoniser = harmoniser_of(section.harmonised, cohort, pooled, case.folds)
    if harmoniser is not None and case.external is not None:  # said now, not when all is trained
        harmoniser.require_known(case.external.cohort)
    return CaseTokens(beside, bags, pooled, harmoniser)
