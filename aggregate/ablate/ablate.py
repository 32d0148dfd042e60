"""An ablation from a pipeline to the run folder's `ablate/`: plan, runs, statistics, files.

No bundle is made: weights are dropped as soon as a run is scored. Train the configuration that the study
speaks for with `slicecache train`, on other folds or all of the data.
"""

import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from aggregate.ablate.findings.compare import Comparison, Row, make_row, primary_comparisons
from aggregate.ablate.findings.results import AblationResults
from aggregate.ablate.findings.told import told_configurations
from aggregate.ablate.grid.expand import Configuration
from aggregate.ablate.grid.sources import location, place_of
from aggregate.ablate.output import Outputs, write_all
from aggregate.ablate.runs.execute import Gathered, execute, outputs_of_baselines
from aggregate.ablate.runs.plan import Plan
from aggregate.ablate.runs.prepare import PreparedStudy, make_plan, prepare
from aggregate.ablate.runs.settled import settled
from aggregate.ablate.runs.shuffled import null_json
from aggregate.ablate.runs.trainer import Ledger
from aggregate.bags.bags import Bags, token_dim
from aggregate.baselines.baselines import mean_pool
from aggregate.baselines.confounds import site_by_label, site_warnings
from aggregate.common.artefacts import log_to
from aggregate.common.run_folder import verb_folder
from aggregate.config.ablate import NESTED
from aggregate.config.resolved import resolved
from aggregate.harmonise.harmoniser import harmoniser_of
from aggregate.shortcuts.adjusted import adjusted_facts
from aggregate.shortcuts.shortcuts import Shortcuts, look_for_shortcuts
from aggregate.statistics.cautions import below_guessing_notes, few_folds
from aggregate.statistics.evaluate import Measured, intervals, measure_folds
from aggregate.targets.base import goal_of_cohort
from aggregate.targets.pairs import contrasts_of
from aggregate.train.assemble import metrics_json, run_notes
from aggregate.train.predictions import predictions
from cache_schema.common.pipeline_file import MAIN, Pipeline
from cache_schema.common.terminal.called import told_command
from cache_schema.common.terminal.progress import bar
from cache_schema.common.text.counts import counted
from cache_schema.files.disk.room import require_writable

NO_PAIRS = (
    "target.pairs is for train: configurations are compared on all classes together, and none was trained on "
    "two alone; an ablation of two classes names these two in target.classes"
)


def plan_ablation(pipeline: Pipeline, shuffle_labels: int = 0) -> Plan:
    """Check everything and say what would be done.

    Raises:
        SlicecacheError: If the file, a store or the table cannot be used as asked.
    """
    prepared = prepare(pipeline, shuffle_labels)
    bags = prepared.first.bags()
    return make_plan(settled(prepared, bags, keep=False), bags)


def ablate_pipeline(pipeline: Pipeline, shuffle_labels: int = 0) -> AblationResults:
    """Train every configuration on the same folds, and compare; all but the report goes to `ablate/`.

    Killed at any time, the same call goes on with the portions of runs that its journal does not hold, and
    leaves the same bytes as if it had not been killed.

    Args:
        pipeline: Names the store and the run folder, and has `aggregate.ablate`.
        shuffle_labels: Permutations of the labels to train the reference and the primary configurations
            on beside, if more than the section says.

    Raises:
        SlicecacheError: If the file, a store or the table cannot be used as asked.
    """
    require_writable(verb_folder(pipeline.folder(), "ablate"), "the run folder")
    prepared = prepare(pipeline, shuffle_labels)
    with log_to(prepared.folder) as logger:
        bags = prepared.first.bags()
        prepared = settled(prepared, bags)
        shortcuts = _shortcuts(prepared, bags)
        plan = make_plan(prepared, bags)
        logger.info("%s", plan.sentence())
        print(plan.sentence(), file=sys.stderr)
        ledger, start = Ledger(prepared.journal), time.perf_counter()
        with bar("runs") as progress:
            gathered = execute(prepared, bags, ledger, progress)
        results = assemble(prepared, gathered, ledger, time.perf_counter() - start, shortcuts)
        for sentence in [*results.warnings, results.turnout.line(), *results.notes]:
            logger.info(sentence)
        logging.getLogger("slicecache").info("%d runs trained, %d found", ledger.trained, ledger.found)
        write_all(
            results, prepared, {**gathered.outputs, **outputs_of_baselines(prepared, gathered.baselines)}
        )
    return results


def _shortcuts(prepared: PreparedStudy, bags: Bags) -> Shortcuts:
    """What can be won by without a disease, on the reference's tokens."""
    cohort, pooled = prepared.first.cohort, mean_pool(bags)
    section = prepared.study[prepared.study.reference].section
    harmoniser = harmoniser_of(section.harmonised, cohort, pooled, prepared.folds)
    vectors = None if harmoniser is None else harmoniser.vectors
    return look_for_shortcuts(cohort, pooled, section.site, vectors)


def assemble(
    prepared: PreparedStudy, gathered: Gathered, ledger: Ledger, seconds: float, shortcuts: Shortcuts
) -> AblationResults:
    """Measure, compare and put everything together."""
    study, first = prepared.study, prepared.first
    cohort, section = first.cohort, study[study.reference].section
    baselines = outputs_of_baselines(prepared, gathered.baselines)
    outputs: Outputs = {**gathered.outputs, **baselines}
    measured = {name: measure_folds(cohort, out) for name, out in outputs.items()}
    primary = primary_comparisons(study, measured, prepared.same)
    rows = [_row(prepared, gathered, name, outputs, measured, primary) for name in gathered.outputs]
    bars = [_row(prepared, gathered, name, outputs, measured, primary) for name in baselines]
    shown = {name: outputs[name] for name in (study.reference, *baselines)}
    metrics = metrics_json(section.seeds, cohort, first.store, dict(shown), measured, first.beside)
    primary_metric = cohort.kind.primary
    nulls = {
        name: null_json(next(row for row in rows if row.name == name).judged.value, values, primary_metric)
        for name, values in gathered.nulls.items()
    }
    if study.reference in nulls:
        metrics["null"] = {primary_metric.name: nulls[study.reference]}
    chosen = dict(Counter(gathered.chosen.values()))
    metrics["ablation"] = ablation_json(prepared, rows, primary, chosen, nulls)
    site = site_by_label(cohort, section.site)
    doubts = few_folds(measured[study.reference])
    doubts += [NO_PAIRS] if contrasts_of(section.target, cohort.classes) else []
    metrics["warnings"] = [*cohort.warnings, *site_warnings(site), *shortcuts.warnings, *doubts]
    ours = gathered.outputs[study.reference]
    metrics |= shortcuts.facts | adjusted_facts(cohort, ours, section.confounds, section.site)
    notes = [*run_notes(section.folds, cohort, prepared.folds, gathered.baselines), *shortcuts.notes]
    notes += below_guessing_notes(m for name, m in measured.items() if prepared.same.get(name, name) == name)
    return AblationResults(
        folder=prepared.folder,
        command=told_command("ablate"),
        config=resolved_ablation(prepared),
        study=study,
        rows=tuple(rows),
        baselines=tuple(bars),
        primary=tuple(primary),
        chosen=chosen,
        nulls=nulls,
        metrics=metrics,
        header=first.store.header,
        seconds=ledger.seconds,
        n_found=ledger.found,
        n_trained=ledger.trained,
        wall_seconds=seconds,
        turnout=cohort.turnout,
        parameters={c.name: parameters_of(prepared, c) for c in study.configurations},
        told=told_predictions(prepared, rows, primary, outputs),
        notes=notes + _notes(prepared),
        warnings=metrics["warnings"],
    )


def told_predictions(
    prepared: PreparedStudy, rows: Sequence[Row], primary: Sequence[Comparison], outputs: Outputs
) -> pd.DataFrame:
    """Predictions of what the report draws: a whole grid's are large."""
    names = told_configurations(prepared.study.reference, rows, primary)
    return predictions(prepared.first.cohort, [outputs[name] for name in names])


def parameters_of(prepared: PreparedStudy, configuration: Configuration) -> int:
    """Numbers that an optimiser moves."""
    source, setup = prepared.sources[place_of(configuration)], configuration.setup
    dim = token_dim(source.store.header, source.place[1], source.beside)
    head = setup.head.build(dim, goal_of_cohort(source.cohort, setup.loss).n_outputs)
    return sum(math.prod(head.shapes[name]) for name in head.trainable)


def _row(
    prepared: PreparedStudy,
    gathered: Gathered,
    name: str,
    outputs: Outputs,
    measured: Mapping[str, Measured],
    primary: Sequence[Any],
) -> Row:
    """One row of the table: a configuration, the nested choice, or a baseline."""
    study = prepared.study
    place = next((place_of(c) for c in study.configurations if c.name == name), prepared.first.place)
    bar_name = gathered.mean_pool.get(place) if name in gathered.outputs else None
    varied = next((c.varied for c in study.configurations if c.name == name), {})
    trained = len(outputs[name]) if name in prepared.same else 0
    found = intervals(prepared.first.cohort, outputs[name], measured[name])
    return make_row(study, name, varied, trained, measured, found, primary, bar_name, prepared.same)


def ablation_json(
    prepared: PreparedStudy,
    rows: Sequence[Row],
    primary: Sequence[Any],
    chosen: Mapping[str, int],
    nulls: Mapping[str, Any],
) -> dict[str, Any]:
    """`ablation` in `metrics.json`; everything else there is of the reference."""
    study = prepared.study
    labels = {row.name: told for row in rows if (told := study.spec.label_of(row.name))}
    found: dict[str, Any] = {
        "reference": study.reference,
        "products": study.section.train.products,
        "device": study.section.train.device,
        "n_configurations": len(study.configurations),
        "n_distinct": len(prepared.distinct),
        "n_runs": sum(len(prepared.outer_jobs(place)) for place in prepared.sources),
        "primary": [{"configurations": [c.a, c.b], **(c.found or {}), "p_holm": c.p_holm} for c in primary],
        "configurations": {
            row.name: {
                row.primary.name: row.judged.as_json(),
                **({"label": labels[row.name]} if row.name in labels else {}),
                "comparison": row.kind,
                "difference": row.difference,
                **({"same_as": row.same_as} if row.same_as else {}),
                "beats_mean_pooling": row.beats_mean_pool if row.versus_mean_pool is not None else None,
            }
            for row in rows
        },
    }
    if study.spec.select is not None:
        row = next(row for row in rows if row.name == NESTED)
        found["nested_selection"] = {row.primary.name: row.judged.as_json(), "chosen": dict(chosen)}
    if nulls:
        found["null"] = {name: {rows[0].primary.name: null} for name, null in nulls.items()}
    return found


def resolved_ablation(prepared: PreparedStudy) -> dict[str, Any]:
    """The pipeline with defaults filled in and paths made absolute: it runs again as it is."""
    data = resolved(prepared.pipeline, prepared.study.section)
    ablate = dict(data["aggregate"]["ablate"])
    named = prepared.study.spec.stores

    def place(name: str) -> str:
        known = name == MAIN or (name in named and named[name] != name)
        return name if known else location(prepared.study, prepared.pipeline, name)

    def put(part: Mapping[str, Any]) -> dict[str, Any]:
        value = part.get("store")
        new = [place(item) for item in value] if isinstance(value, list) else value and place(value)
        return {key: new if key == "store" else item for key, item in part.items()}

    ablate["stores"] = {name: place(at) if at != MAIN else at for name, at in named.items()}
    ablate["configurations"] = {name: put(part) for name, part in ablate["configurations"].items()}
    ablate["grid"] = ablate["grid"] and put(ablate["grid"])
    for rules in ("include", "exclude"):
        ablate[rules] = [put(part) for part in ablate[rules]]
    return {**data, "aggregate": {**data["aggregate"], "ablate": ablate}}


def _notes(prepared: PreparedStudy) -> list[str]:
    """Sentences on what is special to an ablation."""
    primary = prepared.first.cohort.kind.primary
    notes = []
    same = [f"{name} trains the same as {first}" for name, first in prepared.same.items() if name != first]
    notes += same
    if any(c.section.harmonise is not None for c in prepared.study.configurations):
        notes.append(
            "harmonised configurations learn the site from every fold's training part; baselines read the "
            "tokens as they are"
        )
    if prepared.n_shuffles:
        notes.append("shuffled labels: for the reference and the configurations of primary comparisons only")
    if prepared.study.spec.select is not None:
        select = prepared.study.spec.select
        notes.append(
            f"nested selection: in each outer fold, {select.folds} inner folds of its training part and "
            f"{counted(select.seeds, 'seed')} choose the configuration with the "
            f"{'lowest' if primary.lower_is_better else 'highest'} mean {primary.words}"
        )
    return notes
