"""The commands of stage two. Nothing heavy is imported until one of them runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pandas import DataFrame

    from aggregate.config.section import AggregateSection
    from aggregate.train.results import Results
    from cache_schema.common.pipeline_file import Pipeline


def read_section(pipeline: "Pipeline") -> "AggregateSection":
    """Validate the `aggregate` section of a pipeline."""
    from aggregate.config.section import read_aggregate_section

    return read_aggregate_section(pipeline)


@click.command()
@click.argument("pipeline", type=click.Path(dir_okay=False))
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Override a value.")
@click.option(
    "--shuffle-labels",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also train on N permutations of the labels: what chance gives, with a p-value.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
def train(pipeline: str, overrides: Sequence[str], shuffle_labels: int, as_json: bool) -> int:
    """Train the head of PIPELINE in cross-validation on the store, compare it and write the report."""
    from aggregate.train.train import train_pipeline
    from cache_schema.common.pipeline_file import load_pipeline

    loaded = load_pipeline(Path(pipeline), overrides)
    results = train_pipeline(loaded, read_section(loaded), shuffle_labels=shuffle_labels)
    click.echo(json.dumps(results.metrics) if as_json else describe_training(results))
    return 0


@click.command()
@click.argument("pipeline", type=click.Path(dir_okay=False))
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Override a value.")
@click.option(
    "--shuffle-labels",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also train the reference and the primary configurations on N permutations of the labels.",
)
@click.option("--plan", "plan_only", is_flag=True, help="Say what would be trained and stop.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
def ablate(
    pipeline: str, overrides: Sequence[str], shuffle_labels: int, plan_only: bool, as_json: bool
) -> int:
    """Train all configurations of PIPELINE on the same folds, compare them and write the report.

    Killed at any time, the same command goes on from where it was.
    """
    from aggregate.ablate.ablate import ablate_pipeline, plan_ablation
    from aggregate.ablate.terminal import summary
    from cache_schema.common.pipeline_file import load_pipeline

    loaded = load_pipeline(Path(pipeline), overrides)
    if plan_only:
        plan = plan_ablation(loaded, shuffle_labels)
        click.echo(json.dumps(plan.as_json()) if as_json else plan.sentence())
        return 0
    results = ablate_pipeline(loaded, shuffle_labels)
    click.echo(json.dumps(results.metrics) if as_json else summary(results))
    return 0


@click.command()
@click.argument("pipeline", type=click.Path(dir_okay=False))
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Override a value.")
@click.option("--plan", "plan_only", is_flag=True, help="Check everything, say what would be done and stop.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
def detect(pipeline: str, overrides: Sequence[str], plan_only: bool, as_json: bool) -> int:
    """Fit the detectors of PIPELINE on its reference group, map everybody else and write the report.

    Killed at any time, the same command goes on from where it was.
    """
    from aggregate.anomaly.study.terminal import detection_summary
    from aggregate.detect import detect_pipeline, detect_plan
    from cache_schema.common.pipeline_file import load_pipeline

    loaded = load_pipeline(Path(pipeline), overrides)
    if plan_only:
        plan = detect_plan(loaded)
        told = [*plan.sentences(), *plan.notes]
        as_object = {"plan": told, "warnings": list(plan.warnings)}
        warnings = [f"WARNING: {sentence}" for sentence in plan.warnings]
        click.echo(json.dumps(as_object) if as_json else "\n".join([*warnings, *told]))
        return 0
    results = detect_pipeline(loaded)
    click.echo(json.dumps(results.metrics) if as_json else detection_summary(results))
    return 0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("store")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a CSV here, not on standard output."
)
@click.option(
    "--maps",
    type=click.Path(file_okay=False, path_type=Path),
    help="A bundle of detectors: also write NIfTI anomaly maps into this folder.",
)
@click.option(
    "--allow-unlike-reference",
    is_flag=True,
    help="A bundle of detectors: score volumes of another contrast or kind of foreground all the same.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
def predict(
    bundle: Path, store: str, out: Path | None, maps: Path | None, allow_unlike_reference: bool, as_json: bool
) -> int:
    """Apply the trained BUNDLE, of heads or of detectors, to every volume of STORE.

    A participant who was in training is scored only by members that did not see them.
    """
    from aggregate.anomaly.study.bundle import is_detector_bundle

    if is_detector_bundle(bundle):
        table = _predict_detectors(bundle, store, maps, allow_unlike_reference)
    else:
        table = _predict_heads(bundle, store, maps)
    if out is not None:
        table.to_csv(out, index=False)
    if as_json:
        click.echo(json.dumps({"predictions": json.loads(table.to_json(orient="records"))}))
    elif out is None:
        click.echo(table.to_csv(index=False), nl=False)
    else:
        click.echo(f"{len(table)} volumes -> {out}")
    return 0


def _predict_heads(bundle: Path, store: str, maps: Path | None) -> "DataFrame":
    """A head's predictions."""
    from aggregate.predict.bundle import load_bundle
    from aggregate.predict.predict import predict as apply_bundle
    from cache_schema.store.reader import open_store

    if maps is not None:
        raise click.UsageError(f"--maps is for a bundle of detectors, and {bundle} is none")
    return apply_bundle(load_bundle(bundle), open_store(store))


def _predict_detectors(bundle: Path, store: str, maps: Path | None, allow_unlike: bool) -> "DataFrame":
    """Detectors' scores; warnings go to standard error."""
    from aggregate.anomaly.study.bundle import load_detectors
    from aggregate.anomaly.study.predict import predict_detectors
    from cache_schema.store.reader import open_store

    table, warnings = predict_detectors(
        load_detectors(bundle), open_store(store), maps=maps, allow_unlike=allow_unlike
    )
    for sentence in warnings:
        click.echo(f"WARNING: {sentence}", err=True)
    return table


def describe_training(results: "Results") -> str:
    """The result as a person reads it on a terminal."""
    from aggregate.train.terminal import summary

    return summary(results)
