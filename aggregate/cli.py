"""The commands of stage two. Nothing heavy is imported until one of them runs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aggregate.options import PagesOf, WithViewer
from cache_schema.common.terminal.command import WARNING, say
from cache_schema.common.terminal.options import (
    AsJson,
    PipelineFile,
    PlanOnly,
    PoolEngine,
    ProveWith,
    Scheduler,
    SetValues,
    ShuffleLabels,
    SiteFile,
    with_proof,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggregate.config.section import AggregateSection
    from aggregate.train.results import Results
    from cache_schema.common.pipeline_file import Pipeline
    from cache_schema.format.identity import VolumeKey


def read_training_section(pipeline: "Pipeline") -> "AggregateSection":
    """Validate the `aggregate` section of a pipeline."""
    from aggregate.config.section import read_aggregate_section

    return read_aggregate_section(pipeline)


def train(
    pipeline: PipelineFile,
    overrides: SetValues,
    shuffle_labels: ShuffleLabels = 0,
    prove: ProveWith = None,
    as_json: AsJson = False,
) -> int:
    """Train the head of PIPELINE in cross-validation on the store, compare it and write the report."""
    from cache_schema.common.pipeline_file import load_pipeline

    loaded = load_pipeline(pipeline, with_proof(overrides, prove))
    results = train_and_report(loaded, read_training_section(loaded), shuffle_labels)
    if as_json:
        typer.echo(json.dumps(results.metrics))
    else:
        say(describe_training(results, loaded.folder()))
    return 0


def train_and_report(pipeline: "Pipeline", section: "AggregateSection", shuffle_labels: int) -> "Results":
    """Train, and write the report and the run folder's index."""
    from aggregate.present import present_training
    from aggregate.train.train import train_pipeline

    results = train_pipeline(pipeline, section, shuffle_labels=shuffle_labels)
    present_training(results, pipeline.folder())
    return results


def refusal_without_rows(
    pipeline: "Pipeline", section: "AggregateSection"
) -> "Callable[[Sequence[VolumeKey]], None] | None":
    """Who refuses, before volumes are embedded, a cohort table that has a row for none of them.

    That of the external cohort, whose store is there already, is refused at once.

    Returns:
        None where what is trained on lies in a store of another pipeline.
    """
    from aggregate.cohort.foreseen import refuse_without_rows
    from aggregate.train.external import refuse_external_without_rows

    refuse_external_without_rows(pipeline, section)
    store, request = section.home(pipeline)[0], section.cohort_request(pipeline)
    if store not in pipeline.stores().values():
        return None
    return lambda keys: refuse_without_rows(request, keys, store)


def describe_training(results: "Results", run_folder: Path) -> str:
    """The result as a person reads it on a terminal."""
    from aggregate.present import last_lines
    from aggregate.train.terminal import training_summary

    return f"{training_summary(results)}\n{last_lines(run_folder, results.folder)}"


def ablate(
    pipeline: PipelineFile,
    overrides: SetValues,
    shuffle_labels: ShuffleLabels = 0,
    plan_only: PlanOnly = False,
    prove: ProveWith = None,
    as_json: AsJson = False,
) -> int:
    """Train all configurations of PIPELINE on the same folds, compare them and write the report.

    Killed at any time, the same command goes on from where it was. With --shuffle-labels, the reference
    and the primary configurations are trained on permuted labels, too.
    """
    from aggregate.ablate.ablate import ablate_pipeline, plan_ablation
    from aggregate.ablate.terminal import ablation_summary
    from aggregate.present import last_lines, present_ablation
    from cache_schema.common.pipeline_file import load_pipeline

    loaded = load_pipeline(pipeline, with_proof(overrides, prove))
    if plan_only:
        plan = plan_ablation(loaded, shuffle_labels)
        typer.echo(json.dumps(plan.as_json()) if as_json else plan.sentence())
        return 0
    results = ablate_pipeline(loaded, shuffle_labels)
    present_ablation(results, loaded.folder())
    if as_json:
        typer.echo(json.dumps(results.metrics))
    else:
        say(f"{ablation_summary(results)}\n{last_lines(loaded.folder(), results.folder)}")
    return 0


def detect(
    pipeline: PipelineFile,
    overrides: SetValues,
    plan_only: PlanOnly = False,
    prove: ProveWith = None,
    engine: PoolEngine = "local",
    site: SiteFile = None,
    scheduler: Scheduler = None,
    pages: PagesOf = None,
    viewer: WithViewer = False,
    as_json: AsJson = False,
) -> int:
    """Fit the detectors of PIPELINE on its reference group, map everybody else and write the report.

    Killed at any time, the same command goes on from where it was.
    """
    from aggregate.anomaly.study.plan import told_of_plan
    from aggregate.anomaly.study.terminal import detection_summary
    from aggregate.common.telling import read_people
    from aggregate.detect import detect_pipeline, detect_plan
    from aggregate.present import last_lines, present_index
    from cache_schema.cluster.pool import asked_pool
    from cache_schema.common.pipeline_file import load_pipeline

    people = read_people(pages, viewer)
    loaded = load_pipeline(pipeline, with_proof(overrides, prove))
    pool = asked_pool(engine, scheduler, site, loaded.folder() / "detect")
    if plan_only:
        plan = detect_plan(loaded)
        told, as_object = told_of_plan(plan)
        if as_json:
            typer.echo(json.dumps(as_object))
        else:
            say("\n".join([*(f"{WARNING}{sentence}" for sentence in plan.warnings), *told]))
        return 0
    results = detect_pipeline(loaded, pool, people)
    present_index(loaded.folder())
    if as_json:
        typer.echo(json.dumps(results.metrics))
    else:
        say(f"{detection_summary(results)}\n{last_lines(loaded.folder(), results.folder)}")
    return 0
