"""The commands of stage two. Nothing heavy is imported until one of them runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aggregate.options import AllowUnlike, BundlePlace, LabelTable, Maps
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.command import WARNING, say
from cache_schema.common.terminal.options import (
    AllowCustom,
    AsJson,
    PipelineFile,
    PlanOnly,
    PoolEngine,
    ProveWith,
    Scheduler,
    SetValues,
    ShuffleLabels,
    SiteFile,
    StorePlace,
    with_proof,
)
from cache_schema.common.terminal.visible import visible

if TYPE_CHECKING:
    from pandas import DataFrame

    from aggregate.anomaly.study.predict import Judge
    from aggregate.config.section import AggregateSection
    from aggregate.train.results import Results
    from cache_schema.common.pipeline_file import Pipeline
    from cache_schema.store.reader import StoreReader


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
    as_json: AsJson = False,
) -> int:
    """Fit the detectors of PIPELINE on its reference group, map everybody else and write the report.

    Killed at any time, the same command goes on from where it was.
    """
    from aggregate.anomaly.study.terminal import detection_summary
    from aggregate.detect import detect_pipeline, detect_plan
    from aggregate.present import last_lines, present_index
    from cache_schema.cluster.pool import asked_pool
    from cache_schema.common.pipeline_file import load_pipeline

    loaded = load_pipeline(pipeline, with_proof(overrides, prove))
    pool = asked_pool(engine, scheduler, site, loaded.folder() / "detect")
    if plan_only:
        plan = detect_plan(loaded)
        told = [*plan.sentences(), *filter(None, [plan.turnout.line()]), *plan.notes]
        as_object = {"plan": told, "warnings": list(plan.warnings)}
        if as_json:
            typer.echo(json.dumps(as_object))
        else:
            say("\n".join([*(f"{WARNING}{sentence}" for sentence in plan.warnings), *told]))
        return 0
    results = detect_pipeline(loaded, pool)
    present_index(loaded.folder())
    if as_json:
        typer.echo(json.dumps(results.metrics))
    else:
        say(f"{detection_summary(results)}\n{last_lines(loaded.folder(), results.folder)}")
    return 0


def predict(
    bundle: BundlePlace,
    store: StorePlace,
    out: LabelTable = None,
    maps: Maps = None,
    allow_unlike_reference: AllowUnlike = False,
    allow_custom: AllowCustom = False,
    prove: ProveWith = None,
    engine: PoolEngine = "local",
    site: SiteFile = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> int:
    """Apply the trained BUNDLE, of heads or of detectors, to every volume of STORE.

    A participant who was in training is scored only by members that did not see them.
    """
    from aggregate.anomaly.study.bundle import is_detector_bundle
    from aggregate.cohort.turnout import shortfall_of
    from aggregate.common.artefacts import csv_text, write_text
    from aggregate.common.run_folder import find_bundle, permit_bundle
    from cache_schema.cluster.pool import asked_pool
    from cache_schema.files.disk.room import require_target, require_writable
    from cache_schema.store.reader import open_store

    if out is not None:
        require_target(out, "--out")
    if maps is not None:
        require_writable(maps, "the folder of --maps")
    pool = asked_pool(engine, scheduler, site, Path.cwd())
    folder = find_bundle(bundle)
    if allow_custom:
        permit_bundle(folder)
    proof = prove or "crc32c"
    reader = open_store(store, proof)
    familiarity = None
    if is_detector_bundle(folder):
        judge = None
        if pool is not None:
            from aggregate.anomaly.study.predict_over_dask import DaskJudge

            judge = DaskJudge(pool, folder, proof, allow_custom)
        table = _predict_detectors(folder, reader, maps, allow_unlike_reference, judge)
    else:
        if pool is not None:
            raise ConfigError(
                f"{str(folder)!r} is a bundle of heads, and --engine dask is for detectors: heads read 2,000 "
                "volumes in about 10 s; leave it out"
            )
        table, familiarity = _predict_heads(folder, reader, maps)
    if out is not None:
        write_text(out, csv_text(table))
    shortfall = shortfall_of(reader)
    if shortfall.missing:
        typer.echo(visible(shortfall.of_predictions()), err=True)
    if as_json:
        rows = json.loads(table.to_json(orient="records"))
        left_out = [asdict(item) for item in shortfall.missing]
        found = {"familiarity": familiarity} if familiarity is not None else {}
        typer.echo(json.dumps({"predictions": rows, "left_out": left_out, **found}))
    elif out is None:
        typer.echo(csv_text(table), nl=False)
    else:
        typer.echo(f"{len(table)} volumes -> {out}")
    return 0


def _predict_heads(
    bundle: Path, store: "StoreReader", maps: Path | None
) -> "tuple[DataFrame, dict[str, Any]]":
    """A head's predictions, and how the volumes compare with its training cohort."""
    from aggregate.predict.bundle import load_bundle
    from aggregate.predict.predict import predict_and_compare

    if maps is not None:
        raise ConfigError(f"--maps is for a bundle of detectors, and {str(bundle)!r} is none")
    found = predict_and_compare(load_bundle(bundle), store)
    for sentence in found.comparison.lines():
        typer.echo(visible(sentence), err=True)
    return found.table, found.comparison.summary


def _predict_detectors(
    bundle: Path, store: "StoreReader", maps: Path | None, allow_unlike: bool, judge: "Judge | None"
) -> "DataFrame":
    """Detectors' scores; warnings go to standard error."""
    from aggregate.anomaly.study.bundle import load_detectors
    from aggregate.anomaly.study.predict import predict_detectors

    table, warnings = predict_detectors(
        load_detectors(bundle), store, maps=maps, allow_unlike=allow_unlike, judge=judge
    )
    for sentence in warnings:
        typer.echo(f"{WARNING}{sentence}", err=True)
    return table
