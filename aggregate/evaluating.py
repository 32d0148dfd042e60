"""The command `evaluate`. Nothing heavy is imported until it runs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from aggregate.options import BundlePlace
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.command import say
from cache_schema.common.terminal.options import AllowCustom, AsJson, ProveWith

ExternalStore = Annotated[
    str,
    typer.Option("--store", metavar="STORE", help="The external cohort's: a folder, a zip, an .h5 or a URL."),
]
ExternalTable = Annotated[
    Path, typer.Option("--cohort", metavar="TABLE", help="The external cohort's labels: CSV or TSV.")
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="FOLDER",
        show_default=False,
        help="The run folder to write evaluate/ into; by default the one that the bundle lies in.",
    ),
]
SetExternal = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        default_factory=list,
        show_default=False,
        help="What a pipeline would say below external, e.g. target.column=DX or where=\"qc == 'pass'\"; may "
        "be said again.",
    ),
]


def evaluate(
    bundle: BundlePlace,
    store: ExternalStore,
    cohort: ExternalTable,
    overrides: SetExternal,
    run: RunFolder = None,
    allow_custom: AllowCustom = False,
    prove: ProveWith = None,
    as_json: AsJson = False,
) -> int:
    """Measure the trained BUNDLE on a cohort that had no part in its making.

    Weights, temperature and threshold stay as they are. Refused if participants or volumes were in training.
    """
    from aggregate.anomaly.study.bundle import is_detector_bundle
    from aggregate.common.run_folder import find_bundle, permit_bundle, run_folder_of, verb_folder
    from aggregate.evaluate.results import evaluate_to
    from aggregate.evaluate.spec import ExternalSpec
    from aggregate.evaluate.terminal import evaluation_summary
    from aggregate.predict.bundle import load_bundle
    from aggregate.present import last_lines, present_evaluation
    from cache_schema.common.pipeline_file import Pipeline, apply_override, validate

    folder = find_bundle(bundle, ("train",))
    if is_detector_bundle(folder):
        raise ConfigError(f"{str(folder)!r} is a bundle of detectors; detect measures them, by truth")
    place = run or run_folder_of(folder.absolute())
    if place is None:
        raise ConfigError(
            f"the bundle {str(folder)!r} does not lie in a run folder; say by --run where to write evaluate/"
        )
    data = {"store": store, "cohort": str(cohort)}
    for override in overrides:
        apply_override(data, override)
    spec = validate(ExternalSpec, data, "external").placed(Pipeline({}, Path.cwd()))
    if allow_custom:
        permit_bundle(folder)
    bundled = load_bundle(folder)
    results = evaluate_to(
        verb_folder(place, "evaluate"), bundled, str(folder.absolute()), spec, prove or "crc32c"
    )
    present_evaluation(results, place)
    metrics = results.evaluation.metrics
    if as_json:
        typer.echo(json.dumps(metrics))
    else:
        told = evaluation_summary(metrics, results.evaluation.cohort.turnout.line())
        say(f"{told}\n{last_lines(place, results.folder)}")
    return 0
