"""Everything that is known before the first run: configurations, cohort, folds, runs, plan."""

from dataclasses import dataclass, replace
from pathlib import Path

from aggregate.ablate.grid.expand import Configuration, Study, expand
from aggregate.ablate.grid.sources import Place, Source, open_sources, place_of
from aggregate.ablate.runs.jobs import Job, Portion, jobs_of, representatives
from aggregate.ablate.runs.journal import Journal
from aggregate.ablate.runs.nested import OuterKey, inner_folds
from aggregate.ablate.runs.plan import Plan, expected_seconds, memory_bytes, paces
from aggregate.ablate.runs.shuffled import permuted_jobs, tested_by_chance
from aggregate.ablate.runs.tokens import refuse_unharmonised
from aggregate.ablate.runs.trainer import missing_portions
from aggregate.bags.bags import Bags
from aggregate.cohort.folds import make_folds
from aggregate.cohort.people import Fold, FoldSpec
from aggregate.common.run_folder import verb_folder
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline

REPEATS = 10
"""Of the folds, unless the file says otherwise: intervals from one repeat are wide."""
JOURNAL = "journal"
"""Folder of finished portions inside the ablation's."""


@dataclass(frozen=True, slots=True)
class PreparedStudy:
    """An ablation that was checked as a whole and has not begun."""

    pipeline: Pipeline
    study: Study
    sources: dict[Place, Source]
    """The reference's first."""
    fold_spec: FoldSpec
    folds: list[Fold]
    inner: dict[OuterKey, list[Fold]]
    """Inner folds of every outer fold; empty without nested selection."""
    same: dict[str, str]
    """Every configuration's name -> the first one that trains the same."""
    n_shuffles: int

    @property
    def folder(self) -> Path:
        """The ablation's own in the run folder."""
        return verb_folder(self.pipeline.folder(), "ablate")

    @property
    def journal(self) -> Journal:
        """Finished portions of this study."""
        return Journal(self.folder / JOURNAL)

    @property
    def leave_group_out(self) -> str | None:
        """Of the reference, whose folds all share."""
        return self.study[self.study.reference].section.leave_group_out

    @property
    def first(self) -> Source:
        """The reference's source."""
        return next(iter(self.sources.values()))

    @property
    def distinct(self) -> list[Configuration]:
        """Configurations that are trained."""
        return [c for c in self.study.configurations if self.same[c.name] == c.name]

    def outer_jobs(self, place: Place) -> list[Job]:
        """Runs of the table over one source."""
        here = [c for c in self.distinct if place_of(c) == place]
        calibrated = self.first.cohort.kind.calibrates
        return [job for c in here for job in jobs_of(c, self.folds, c.setup.seeds, calibrated)]

    def inner_jobs(self, place: Place) -> list[Job]:
        """Runs over one source that choose."""
        select = self.study.spec.select
        if select is None:
            return []
        names = {self.same[name] for name in self.study.candidates}
        here = [c for c in self.distinct if c.name in names and place_of(c) == place]
        folds = [fold for inner in self.inner.values() for fold in inner]
        return [job for c in here for job in jobs_of(c, folds, select.seeds, calibrated=False)]

    def n_shuffled(self) -> int:
        """Runs on permuted labels, over all sources."""
        seeds = sum(c.setup.seeds for place in self.sources for c in self.chance(place))
        return seeds * len(self.folds) * self.n_shuffles

    def chance(self, place: Place) -> list[Configuration]:
        """Configurations of one source that are also trained on shuffled labels."""
        if not self.n_shuffles:
            return []
        names = {self.same[c.name] for c in tested_by_chance(self.study)}
        return [c for c in self.distinct if c.name in names and place_of(c) == place]


def prepare(pipeline: Pipeline, shuffle_labels: int = 0) -> PreparedStudy:
    """Check everything that can be wrong before anything is trained.

    Args:
        pipeline: Names the store and the run folder, and has `aggregate.ablate`.
        shuffle_labels: Permutations of the labels, if more than the section says.

    Raises:
        SlicecacheError: If the file, a store or the table cannot be used as asked.
    """
    if "aggregate" not in pipeline.data:
        raise ConfigError("the pipeline has no section 'aggregate'")
    study = expand(pipeline.data["aggregate"])
    study, sources = open_sources(study, pipeline)
    section = study[study.reference].section
    cohort = next(iter(sources.values())).cohort
    told = (replace(c, setup=c.setup.for_classes(cohort.classes)) for c in study.configurations)
    study = replace(study, configurations=tuple(told))
    spec = section.folds.model_copy(update={"repeats": _repeats(study)})
    folds = make_folds(cohort, spec, section.leave_group_out)
    select = study.spec.select
    inner = {} if select is None else inner_folds(cohort, folds, select, spec)
    refuse_unharmonised(study, cohort, [*folds, *(fold for own in inner.values() for fold in own)])
    same = representatives(study.configurations)
    shuffles = max(shuffle_labels, section.shuffle_labels)
    return PreparedStudy(pipeline, study, sources, spec, folds, inner, same, shuffles)


def _repeats(study: Study) -> int:
    """As asked; a given split and groups that are left out have none of their own."""
    section = study.section
    given = section.split is not None or section.leave_group_out is not None
    return study.spec.repeats or (section.folds.repeats if given else REPEATS)


def make_plan(prepared: PreparedStudy, bags: Bags) -> Plan:
    """Count the runs, look up the finished ones, time an epoch of each head.

    Args:
        prepared: The study.
        bags: Of its first source, on which the probe runs.
    """
    first, study = prepared.first, prepared.study
    missing = {place: _missing(prepared, place) for place in prepared.sources}
    found = paces([portion for portions in missing.values() for portion in portions], first, bags)
    least = most = 0.0
    for place, portions in missing.items():
        # A step's cost grows with the numbers that it reads.
        scale = prepared.sources[place].bag_bytes() / first.bag_bytes()
        spent = expected_seconds([job for portion in portions for job in portion.jobs], found)
        least, most = least + scale * spent[0], most + scale * spent[1]
    n_runs = sum(len(prepared.outer_jobs(place)) for place in prepared.sources)
    n_inner = sum(len(prepared.inner_jobs(place)) for place in prepared.sources)
    n_shuffled = prepared.n_shuffled()
    n_missing = sum(len(p.jobs) for portions in missing.values() for p in portions)
    return Plan(
        n_configurations=len(study.configurations),
        n_distinct=len(prepared.distinct),
        n_folds=len({fold.fold for fold in prepared.folds}),
        n_repeats=len({fold.repeat for fold in prepared.folds}),
        n_seeds=study.section.seeds,
        n_runs=n_runs,
        n_inner=n_inner,
        n_shuffled=n_shuffled,
        n_kept=n_runs + n_inner + n_shuffled - n_missing,
        seconds_least=least,
        seconds_most=most,
        memory_bytes=memory_bytes(list(prepared.sources.values())),
    )


def _missing(prepared: PreparedStudy, place: Place) -> list[Portion]:
    """Portions of one source that the journal does not hold, those on permuted labels last."""
    source, journal = prepared.sources[place], prepared.journal
    found = missing_portions(prepared.outer_jobs(place), source, journal)
    found += missing_portions(prepared.inner_jobs(place), source, journal)
    chance = prepared.chance(place)
    for index in range(prepared.n_shuffles if chance else 0):
        permuted, jobs = permuted_jobs(source, chance, prepared.fold_spec, prepared.leave_group_out, index)
        found += missing_portions(jobs, permuted, journal)
    return found
