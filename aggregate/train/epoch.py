"""What one fold costs from the store: opened, read and trained to its end, alone."""

import time
from dataclasses import dataclass, replace

from aggregate.config.section import AggregateSection
from aggregate.train.case import open_case, open_tokens
from aggregate.train.crossval import cross_validate
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.format.identity import VolumeKey


@dataclass(frozen=True, slots=True)
class FoldFromStore:
    """The first fold, trained once with one seed."""

    keys: tuple[VolumeKey, ...]
    """Volumes of its training part."""
    epochs: int
    seconds: float
    """Of all of them, reading the store included."""


def train_one_fold(pipeline: Pipeline, section: AggregateSection) -> FoldFromStore:
    """Train the first fold's first run again, and leave nothing.

    Raises:
        SlicecacheError: If the store, the table or the section cannot be used as asked.
    """
    start = time.perf_counter()
    case = open_case(pipeline, section, None)
    tokens, first = open_tokens(case), case.folds[0]
    setup = replace(case.setup, seeds=1)
    trained = cross_validate(setup, case.cohort, tokens.bags, [first], calibrated=False)
    seconds = time.perf_counter() - start
    inside = frozenset(first.inside.tolist())
    pairs = zip(case.cohort.entries, case.cohort.bag.tolist(), strict=True)
    keys = tuple(entry.key for entry, bag in pairs if bag in inside)
    return FoldFromStore(keys, trained.runs[0].epochs, seconds)
