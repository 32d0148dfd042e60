"""Where configurations get their tokens from: one store and one array, for a cohort that all share."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aggregate.ablate.grid.expand import Configuration, Study
from aggregate.bags.bags import Bags, bags_bytes, token_dim
from aggregate.bags.beside import Beside, open_beside
from aggregate.bags.memory import memory_budget, open_bags
from aggregate.cohort.cohort import Cohort, load_cohort
from aggregate.common.table_values import listed
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import MAIN, Pipeline
from cache_schema.store.reader import StoreReader, open_store

Place = tuple[str, str]
"""Store (name or location) and token array."""


@dataclass(frozen=True, slots=True)
class Source:
    """Tokens of the cohort in one store."""

    place: Place
    store: StoreReader
    cohort: Cohort
    memory_gib: float | None
    """What the tokens may take."""
    beside: Beside = field(default_factory=dict)
    """Other stores that tokens are read from."""

    def bags(self) -> Bags:
        """Read them, or leave them in the store if they are too many."""
        cohort = self.cohort
        return open_bags(self.store, self.place[1], cohort.entries, cohort.bag, self.memory_gib, self.beside)

    def bytes(self) -> int:
        """What the tokens take in memory, at most what is allowed."""
        cohort = self.cohort
        needed = bags_bytes(cohort.entries, self.store.header, self.place[1], cohort.bag, self.beside)
        return min(needed, memory_budget(self.memory_gib))

    def bag_bytes(self) -> int:
        """Of one padded bag in float32."""
        counts = np.array([entry.n_slices for entry in self.cohort.entries])
        longest = np.bincount(self.cohort.bag, weights=counts).max()
        return int(longest) * token_dim(self.store.header, self.place[1], self.beside) * 4


def place_of(configuration: Configuration) -> Place:
    """Where a configuration gets its tokens from."""
    return configuration.store, configuration.setup.tokens


def open_sources(study: Study, pipeline: Pipeline) -> tuple[Study, dict[Place, Source]]:
    """Open every store that a configuration names; the reference's comes first.

    Returns:
        The study, with the tokens that a store has where none were said, and the sources.

    Raises:
        SlicecacheError: If a store cannot be used, or holds other volumes of the cohort than the
            reference's: comparisons are on the same participants or they are none.
    """
    ordered = sorted(study.configurations, key=lambda c: c.name != study.reference)
    found: dict[Place, Source] = {}
    stores: dict[str, tuple[StoreReader, Cohort]] = {}
    told: dict[str, Configuration] = {}
    for said in ordered:
        section = said.section
        if said.store not in stores:
            store = open_store(location(study, pipeline, said.store), pipeline.prove())
            stores[said.store] = store, load_cohort(section.cohort_request(pipeline), store)
        store, cohort = stores[said.store]
        configuration = told[said.name] = _with_tokens(said, store)
        place = place_of(configuration)
        if place in found:
            continue
        section = configuration.section
        if section.test_views.several:
            raise ConfigError(
                f"ablate.configurations.{configuration.name}: test_views is for `train`; ablate compares "
                "what heads say of the slices as they are: leave it out"
            )
        beside = open_beside(section.beside(pipeline, place[1]), pipeline.prove())
        source = Source(place, store, cohort, section.memory_gib, beside)
        source.bytes()  # says now, not in an hour, that a store has no such tokens
        found[place] = source
    _refuse_different(list(found.values()))
    section = study.section.for_store(stores[MAIN][0].header) if MAIN in stores else study.section
    configurations = tuple(told[configuration.name] for configuration in study.configurations)
    return replace(study, section=section, configurations=configurations), found


def _with_tokens(configuration: Configuration, store: StoreReader) -> Configuration:
    """What is said, or what a store without CLS has."""
    section = configuration.section.for_store(store.header)
    if section is configuration.section:
        return configuration
    return replace(configuration, section=section, setup=replace(configuration.setup, tokens=section.tokens))


def location(study: Study, pipeline: Pipeline, name: str) -> str:
    """A store's location: the pipeline's own, one that has a name, or the name itself as a path."""
    named = study.spec.stores.get(name, name)
    if named == MAIN:
        return pipeline.store()
    return study.section.known_stores(pipeline).get(named) or pipeline.location(named)


def _refuse_different(sources: Sequence[Source]) -> None:
    first = _keys(sources[0].cohort)
    for source in sources[1:]:
        other = _keys(source.cohort)
        odd = sorted(first.keys() ^ other.keys()) or [key for key in first if first[key] != other[key]]
        if odd or list(first) != list(other):
            raise SlicecacheError(
                f"ablate compares on the same volumes, but the cohort in store {source.place[0]!r} and in "
                f"store {sources[0].place[0]!r} differ in {len(odd)}: "
                f"{listed([' '.join(part for part in key if part) for key in odd])}; "
                "leave these participants out by where, or extract what is missing"
            )


def _keys(cohort: Cohort) -> dict[tuple[str, str, str], int]:
    """Label of every bag by its key, in the order of the bags."""
    frame = cohort.frame
    names = zip(frame["participant_id"], frame["session_id"], frame["volume_id"], strict=True)
    return dict(zip(names, cohort.y.tolist(), strict=True))


def with_labels(source: Source, cohort: Cohort) -> Source:
    """The same tokens with permuted labels: `cohort` differs from the source's in nothing else."""
    return replace(source, cohort=cohort)
