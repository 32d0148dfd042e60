"""Train all runs of an ablation, source by source, and gather what they say of their test parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from aggregate.ablate.grid.sources import Place, Source
from aggregate.ablate.runs.keys import Keys
from aggregate.ablate.runs.nested import OuterKey, choose_configurations, nested_outputs
from aggregate.ablate.runs.prepare import PreparedStudy
from aggregate.ablate.runs.shuffled import mean_judged, permuted_jobs, tested_by_chance
from aggregate.ablate.runs.trainer import Ledger, RunKey, renamed, train_jobs
from aggregate.bags.bags import Bags
from aggregate.baselines.baselines import Baseline, make_baselines, mean_pool_linear
from aggregate.baselines.names import MEAN_POOLING
from aggregate.config.ablate import NESTED
from aggregate.statistics.evaluate import OutOfFold
from aggregate.train.assemble import baseline_outputs
from cache_schema.common.terminal.progress import Progress


@dataclass(slots=True)
class Gathered:
    """Outputs of everything."""

    outputs: dict[str, tuple[OutOfFold, ...]] = field(default_factory=dict)
    """By configuration, in the order folds x seeds."""
    baselines: list[Baseline] = field(default_factory=list)
    mean_pool: dict[Place, str] = field(default_factory=dict)
    """Name of each source's mean pooling baseline."""
    chosen: dict[OuterKey, str] = field(default_factory=dict)
    nulls: dict[str, list[float]] = field(default_factory=dict)
    """By configuration, the mean primary metric of every permutation."""


def execute(
    prepared: PreparedStudy, first: Bags, ledger: Ledger, progress: Progress | None = None
) -> Gathered:
    """Train what is missing and gather all outputs.

    Args:
        prepared: The study.
        first: Bags of its first source, which the plan has read already.
        ledger: Holds the journal and counts.
        progress: Called with (runs done, runs).
    """
    gathered, found = Gathered(), dict[RunKey, OutOfFold]()
    count = _Count(prepared, progress)
    for place, source in prepared.sources.items():
        bags = first if source is prepared.first else source.bags()
        for jobs in (prepared.outer_jobs(place), prepared.inner_jobs(place)):
            found |= train_jobs(jobs, source, bags, ledger, count.of(len(jobs)))
        _chance(prepared, place, bags, ledger, gathered, count)
        gathered.baselines += _baselines(prepared, place, bags, ledger, gathered)
    _gather(prepared, found, gathered)
    return gathered


class _Count:
    """Runs done over all calls."""

    def __init__(self, prepared: PreparedStudy, progress: Progress | None) -> None:
        self.progress, self.before = progress, 0
        jobs = [len(prepared.outer_jobs(p)) + len(prepared.inner_jobs(p)) for p in prepared.sources]
        self.total = sum(jobs) + prepared.n_shuffled()

    def of(self, n: int) -> Progress | None:
        """A callback for the next `n` runs."""
        start = self.before
        self.before += n
        if self.progress is None:
            return None
        told = self.progress
        return lambda done, total: told(start + done, self.total)


def _gather(prepared: PreparedStudy, found: dict[RunKey, OutOfFold], gathered: Gathered) -> None:
    """Put outputs in order, let equal configurations share them, and choose."""
    study, seeds = prepared.study, range(prepared.study.section.seeds)
    for name, trained in prepared.same.items():
        gathered.outputs[name] = tuple(
            renamed(found[trained, fold.repeat, fold.fold, seed], name)
            for fold in prepared.folds
            for seed in seeds
        )
    if study.spec.select is None:
        return
    candidates = list(dict.fromkeys(prepared.same[name] for name in study.candidates))
    cohort = prepared.first.cohort
    gathered.chosen = choose_configurations(
        cohort, prepared.inner, candidates, found, study.spec.select.seeds
    )
    gathered.outputs[NESTED] = nested_outputs(gathered.chosen, prepared.folds, found, len(seeds))


def _chance(
    prepared: PreparedStudy, place: Place, bags: Bags, ledger: Ledger, gathered: Gathered, count: _Count
) -> None:
    """Train the configurations of one source on permuted labels."""
    configurations = prepared.chance(place)
    asked = {c.name for c in tested_by_chance(prepared.study)}
    for index in range(prepared.n_shuffles if configurations else 0):
        source, jobs = permuted_jobs(
            prepared.sources[place],
            configurations,
            prepared.fold_spec,
            prepared.leave_group_out,
            index,
        )
        found = train_jobs(jobs, source, bags, ledger, count.of(len(jobs)))
        for configuration in configurations:
            own = [output for key, output in sorted(found.items()) if key[0] == configuration.name]
            for name, trained in prepared.same.items():
                if trained == configuration.name and name in asked:
                    gathered.nulls.setdefault(name, []).append(mean_judged(source, own))


def _baselines(
    prepared: PreparedStudy, place: Place, bags: Bags, ledger: Ledger, gathered: Gathered
) -> list[Baseline]:
    """All baselines for the reference's source, mean pooling alone for the others."""
    source = prepared.sources[place]
    asked = prepared.study[prepared.study.reference].section
    wanted = asked.baselines
    found: dict[str, Baseline] = {}
    if MEAN_POOLING in wanted:
        pooled = _mean_pool(source, bags, prepared, ledger)
        found[MEAN_POOLING] = replace(
            pooled, name=_beside(source.cohort.kind.bar, prepared.first.place, place)
        )
        gathered.mean_pool[place] = found[MEAN_POOLING].name
    if source is prepared.first:
        rest = tuple(name for name in wanted if name != MEAN_POOLING)
        made = make_baselines(source.cohort, bags, prepared.folds, rest, asked.confounds, asked.site)
        found |= {b.name: b for b in made}
    asked_for = [found[name] for name in wanted if name in found]
    return asked_for + [made for name, made in found.items() if name not in wanted]


def _mean_pool(source: Source, bags: Bags, prepared: PreparedStudy, ledger: Ledger) -> Baseline:
    """Mean pooling + logistic regression, from the journal if it is there."""
    key = Keys(source).baseline(MEAN_POOLING, prepared.folds)
    kept = ledger.journal.read(key)
    if kept is not None:
        return Baseline(
            source.cohort.kind.bar, tuple(kept[0][f"logits.{i}"] for i in range(len(prepared.folds)))
        )
    made = mean_pool_linear(source.cohort, bags, prepared.folds)
    arrays = {f"logits.{index}": logits for index, logits in enumerate(made.logits)}
    ledger.journal.write(key, arrays, MEAN_POOLING)
    return made


def _beside(bar: str, first: Place, place: Place) -> str:
    """The linear model's name, with what sets a source apart from the reference's."""
    parts = [f"{word}={value}" for word, value in zip(("store", "tokens"), place, strict=True)]
    odd = [part for part, a, b in zip(parts, place, first, strict=True) if a != b]
    return " ".join([bar, *odd])


def outputs_of_baselines(
    prepared: PreparedStudy, baselines: Sequence[Baseline]
) -> dict[str, tuple[OutOfFold, ...]]:
    """Baselines that could be made, in the form of configurations."""
    return {b.name: baseline_outputs(b, prepared.folds) for b in baselines if b.logits}
