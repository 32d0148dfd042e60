"""The command `evaluate`: a finished bundle on a cohort that had no part in its making, or on its images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aggregate.options import BundlePlace, CheckpointFolder, ImagePlaces, embedded_place
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.command import say
from cache_schema.common.terminal.options import AllowCustom, AsJson, ProveWith
from cache_schema.common.terminal.visible import visible

if TYPE_CHECKING:
    from aggregate.evaluate.spec import ExternalSpec
    from aggregate.predict.bundle import Bundle
    from cache_schema.common.prove import Prove
    from cache_schema.store.reader import StoreReader
    from cache_schema.store.wanted import StoreMaker

ExternalStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="STORE",
        show_default=False,
        help="The external cohort's: a folder, a zip, an .h5 or a URL. With --images it is made, or gone on "
        "with; by default beside evaluate/.",
    ),
]
ExternalTable = Annotated[
    Path,
    typer.Option(
        "--cohort", metavar="TABLE", help="The external cohort's labels: CSV or TSV.", readable=False
    ),
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
        help="What a pipeline would say below external, e.g. target.column=DX or where=\"qc == 'pass'\"; "
        "with --images also extract.NAME=VALUE, as predict has it; may be said again.",
    ),
]
EXTRACT = "extract."
"""Before a name of `--set` that says something of the images."""


def evaluate(
    context: typer.Context,
    bundle: BundlePlace,
    cohort: ExternalTable,
    overrides: SetExternal,
    store: ExternalStore = None,
    images: ImagePlaces = None,
    backbone: CheckpointFolder = None,
    run: RunFolder = None,
    allow_custom: AllowCustom = False,
    prove: ProveWith = None,
    as_json: AsJson = False,
) -> int:
    """Measure the trained BUNDLE on a cohort that had no part in its making: its store, or its images.

    Weights, temperature and threshold stay as they are. Refused if participants or volumes were in training.
    Images that cannot be embedded are listed in failures.tsv.
    """
    from aggregate.anomaly.study.bundle import is_detector_bundle
    from aggregate.common.run_folder import (
        find_bundle,
        pair_of,
        permit_bundle,
        place_of_pair,
        run_folder_of,
        verb_folder,
    )
    from aggregate.evaluate.results import evaluate_to
    from aggregate.evaluate.spec import ExternalSpec
    from aggregate.evaluate.terminal import evaluation_summary
    from aggregate.predict.bundle import load_bundle
    from aggregate.present import last_lines, present_evaluation
    from cache_schema.common.pipeline_file import Pipeline, apply_override, validate

    of_images = [each.removeprefix(EXTRACT) for each in overrides if each.startswith(EXTRACT)]
    if images is None and (store is None or backbone is not None or of_images):
        raise ConfigError(
            "evaluate takes --store STORE, or --images PATH; --backbone and --set extract.NAME=VALUE are for "
            "--images"
        )
    folder = find_bundle(bundle, ("train",))
    if is_detector_bundle(folder):
        raise ConfigError(f"{str(folder)!r} is a bundle of detectors; detect measures them, by truth")
    place = run or run_folder_of(folder.absolute())
    if place is None:
        raise ConfigError(
            f"the bundle {str(folder)!r} does not lie in a run folder; say by --run where to write evaluate/"
        )
    location, beside = embedded_place(store, place / "evaluate", None)
    data: dict[str, Any] = {"store": location, "cohort": str(cohort)}
    for override in overrides:
        if not override.startswith(EXTRACT):
            apply_override(data, override)
    spec = validate(ExternalSpec, data, "external").placed(Pipeline({}, Path.cwd()))
    if allow_custom:
        permit_bundle(folder)
    bundled = load_bundle(folder)
    made, reader, proof = None, None, prove or "crc32c"
    if images is not None:
        made = context.obj(images, location, beside, backbone, of_images)
        reader = _embedded(made, bundled, spec, proof)
    own = place_of_pair(verb_folder(place, "evaluate"), pair_of(folder.absolute()))
    results = evaluate_to(own, bundled, str(folder.absolute()), spec, proof, reader)
    present_evaluation(results, place)
    metrics = results.evaluation.metrics
    if as_json:
        typer.echo(json.dumps(metrics | ({"extract": made.as_json()} if made is not None else {})))
    else:
        told = evaluation_summary(metrics, results.evaluation.cohort.turnout.line())
        say(f"{told}\n{last_lines(place, results.folder)}")
    return 1 if made is not None and made.failed else 0


def _embedded(made: "StoreMaker", bundle: "Bundle", spec: "ExternalSpec", proof: "Prove") -> "StoreReader":
    """The store that is made of the images, once the table of their labels can be read."""
    from aggregate.anomaly.study.wanted import wanted_by_card
    from aggregate.evaluate.external import require_labels

    require_labels(bundle.card, spec)
    reader = made.store_for(wanted_by_card(bundle.card), proof)
    typer.echo(visible(made.told()), err=True)
    return reader
