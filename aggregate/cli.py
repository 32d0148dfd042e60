"""The commands of stage two: train, ablate, predict. Nothing heavy is imported until one of them runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aggregate.config import AggregateSection
    from aggregate.study.results import Results
    from cache_schema.settings import Pipeline


def read_section(pipeline: "Pipeline") -> "AggregateSection":
    """Validate the `aggregate` section of a pipeline."""
    from aggregate.config import read_aggregate_section

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
    from aggregate.study.run import train_pipeline
    from cache_schema.settings import load_pipeline

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
    from aggregate.ablation.run import ablate_pipeline, plan_ablation
    from aggregate.ablation.summary import summary
    from cache_schema.settings import load_pipeline

    loaded = load_pipeline(Path(pipeline), overrides)
    if plan_only:
        plan = plan_ablation(loaded, shuffle_labels)
        click.echo(json.dumps(plan.as_json()) if as_json else plan.sentence())
        return 0
    results = ablate_pipeline(loaded, shuffle_labels)
    click.echo(json.dumps(results.metrics) if as_json else summary(results))
    return 0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("store")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a CSV here, not on standard output."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
def predict(bundle: Path, store: str, out: Path | None, as_json: bool) -> int:
    """Apply the trained BUNDLE to every volume of STORE.

    A participant who was in training is scored only by members that did not see them.
    """
    from aggregate.bundle import load_bundle
    from aggregate.predict import predict as apply_bundle
    from cache_schema.reader import open_store

    table = apply_bundle(load_bundle(bundle), open_store(store))
    if out is not None:
        table.to_csv(out, index=False)
    if as_json:
        click.echo(json.dumps({"predictions": json.loads(table.to_json(orient="records"))}))
    elif out is None:
        click.echo(table.to_csv(index=False), nl=False)
    else:
        click.echo(f"{len(table)} volumes -> {out}")
    return 0


def describe_training(results: "Results") -> str:
    """The result as a person reads it on a terminal."""
    from aggregate.study.summary import summary

    return summary(results)
