"""Read every slice of a brain MRI cohort once; train and compare heads from the cache in seconds.

    >>> import slicecache as sc
    >>> sc.extract(store="cache.zarr", input={"bids": "cohort"}, backbone={"kind": "dinov2"})
    >>> found = sc.train(store="cache.zarr", cohort="participants.tsv", target="diagnosis")
    >>> found.table

The verbs do what the command `slicecache` does, with the same numbers:

    simulate    write a labelled cohort to try everything on
    extract     embed every volume of the input that the store does not hold yet
    train       train a head in cross-validation and compare it with its baselines
    ablate      train many configurations on the same folds and test what was named before
    detect      fit anomaly detectors on a reference group, score everybody else and measure
    evaluate    measure a trained bundle on an external cohort
    predict     apply a trained bundle to a store, or to images (`Images`)
    explain     say which slices a trained head decides by, beside controls
    export      write a store or a run as AnnData, xarray, Hugging Face, BIDS or MLflow read it
    verify      check a store against itself

Beside them:

    open        a store to look at (`Store`): tables, tokens as numpy (`BagArrays`), torch (`BagDataset` of
                `Bag`, `collate_bags`), dask, xarray
    embed       one volume or array, without a store (`Embedding`)
    HeadClassifier, HeadRegressor
                heads as scikit-learn estimators, which refuse input by `InputError`
    testing     laws for parts of your own: check_head, check_loss, check_detector, check_backbone
    ...Result, HandedOn
                what the verbs return
    SlicecacheError
                the base of ConfigError, StoreError, StoreMismatch and MachineError

`help(sc.train)` and so on say more; README.md begins, docs/tutorial.md goes on, docs/reference.md has every
key of a pipeline with its default.
"""

# This module is the conductor, in which alone the stages meet. Nothing heavy is imported until a verb runs or
# a name is used: `slicecache --help` and `import slicecache` answer at once, without torch.

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache_schema.common.lazy_names import imported as imported
from cache_schema.common.lazy_names import lazy_names
from cache_schema.common.terminal.command import guarded as guarded
from cache_schema.common.terminal.command import lazy_group, leave, say
from cache_schema.common.terminal.options import AsJson, PipelineFile, SetValues, ShuffleLabels, TimeEpoch

if TYPE_CHECKING:
    from pathlib import Path

    from aggregate.api.bag_arrays import BagArrays as BagArrays
    from aggregate.api.dataset import Bag as Bag
    from aggregate.api.dataset import BagDataset as BagDataset
    from aggregate.api.dataset import collate_bags as collate_bags
    from aggregate.api.estimator import HeadClassifier as HeadClassifier
    from aggregate.api.evaluating import evaluate as evaluate
    from aggregate.api.explaining import ExplainResult as ExplainResult
    from aggregate.api.explaining import explain as explain
    from aggregate.api.given_bags import InputError as InputError
    from aggregate.api.predicting import predict as predict
    from aggregate.api.regressor import HeadRegressor as HeadRegressor
    from aggregate.api.results import AblateResult as AblateResult
    from aggregate.api.results import DetectResult as DetectResult
    from aggregate.api.results import EvaluateResult as EvaluateResult
    from aggregate.api.results import TrainResult as TrainResult
    from aggregate.api.store import Store as Store
    from aggregate.api.store import open as open
    from aggregate.api.store import verify as verify
    from aggregate.api.studies import ablate as ablate
    from aggregate.api.studies import detect as detect
    from aggregate.api.studies import train as train
    from aggregate.config.section import AggregateSection
    from aggregate.interop.export import HandedOn as HandedOn
    from aggregate.interop.export import export as export
    from aggregate.testing.detectors import check_detector as _check_detector
    from aggregate.testing.heads import check_head as _check_head
    from aggregate.testing.losses import check_loss as _check_loss
    from cache_schema.common.errors import ConfigError as ConfigError
    from cache_schema.common.errors import MachineError as MachineError
    from cache_schema.common.errors import SlicecacheError as SlicecacheError
    from cache_schema.common.errors import StoreError as StoreError
    from cache_schema.common.errors import StoreMismatch as StoreMismatch
    from cache_schema.common.pipeline_file import Pipeline
    from extract.api import extract as extract
    from extract.api import simulate as simulate
    from extract.embedding import Embedding as Embedding
    from extract.embedding import embed as embed
    from extract.images import Images as Images
    from extract.testing.backbones import check_backbone as _check_backbone

    __version__: str

    class testing:  # noqa: N801
        """Laws that every part keeps, ours and a stranger's, to be run from anybody's tests."""

        check_backbone = staticmethod(_check_backbone)
        check_detector = staticmethod(_check_detector)
        check_head = staticmethod(_check_head)
        check_loss = staticmethod(_check_loss)


PUBLIC_NAMES: dict[str, Any] = {
    "open": "aggregate.api.store:open",
    "verify": "aggregate.api.store:verify",
    "train": "aggregate.api.studies:train",
    "ablate": "aggregate.api.studies:ablate",
    "detect": "aggregate.api.studies:detect",
    "predict": "aggregate.api.predicting:predict",
    "evaluate": "aggregate.api.evaluating:evaluate",
    "explain": "aggregate.api.explaining:explain",
    "export": "aggregate.interop.export:export",
    "extract": "extract.api:extract",
    "simulate": "extract.api:simulate",
    "embed": "extract.embedding:embed",
    "Embedding": "extract.embedding:Embedding",
    "Images": "extract.images:Images",
    "Store": "aggregate.api.store:Store",
    "BagArrays": "aggregate.api.bag_arrays:BagArrays",
    "Bag": "aggregate.api.dataset:Bag",
    "BagDataset": "aggregate.api.dataset:BagDataset",
    "collate_bags": "aggregate.api.dataset:collate_bags",
    "TrainResult": "aggregate.api.results:TrainResult",
    "AblateResult": "aggregate.api.results:AblateResult",
    "EvaluateResult": "aggregate.api.results:EvaluateResult",
    "DetectResult": "aggregate.api.results:DetectResult",
    "ExplainResult": "aggregate.api.explaining:ExplainResult",
    "HandedOn": "aggregate.interop.export:HandedOn",
    "HeadClassifier": "aggregate.api.estimator:HeadClassifier",
    "HeadRegressor": "aggregate.api.regressor:HeadRegressor",
    "InputError": "aggregate.api.given_bags:InputError",
    "ConfigError": "cache_schema.common.errors:ConfigError",
    "StoreError": "cache_schema.common.errors:StoreError",
    "StoreMismatch": "cache_schema.common.errors:StoreMismatch",
    "MachineError": "cache_schema.common.errors:MachineError",
    "SlicecacheError": "cache_schema.common.errors:SlicecacheError",
    "testing": {
        "check_backbone": "extract.testing.backbones:check_backbone",
        "check_detector": "aggregate.testing.detectors:check_detector",
        "check_head": "aggregate.testing.heads:check_head",
        "check_loss": "aggregate.testing.losses:check_loss",
    },
}
"""What `import slicecache as sc` offers: name -> where it lives; imported when it is used (PEP 562). The
same names stand above for type checkers."""

COMMANDS = {
    "init": ("extract.init.cli:init", "Ask five questions and write a commented pipeline file."),
    "doctor": (
        "extract.doctor.cli:doctor",
        "Look at this machine and, given a pipeline, at what it needs here; a line of advice per finding.",
    ),
    "run": ("slicecache:run", "The whole pipeline: extract, then train, then the report."),
    "plan": (
        "extract.cli:plan",
        "Say what would be embedded, what cannot be and why, and how large the store gets.",
    ),
    "extract": (
        "extract.cli:extract",
        "Stage one: read every volume once and commit its embeddings to the store.",
    ),
    "train": ("aggregate.cli:train", "Stage two: train the head in cross-validation, compare it, report it."),
    "evaluate": (
        "aggregate.evaluating:evaluate",
        "Measure a trained bundle on an external cohort: nothing is fitted, nothing is chosen.",
    ),
    "explain": (
        "aggregate.explaining:explain",
        "Say which slices a trained head decides by, out of fold, beside controls that must be beaten.",
    ),
    "ablate": (
        "aggregate.cli:ablate",
        "Train many configurations on the same folds, test what was named before, report it.",
    ),
    "detect": (
        "aggregate.cli:detect",
        "Fit anomaly detectors on a reference group, map everybody else, measure and report it.",
    ),
    "predict": (
        "aggregate.applying:predict",
        "Apply a trained bundle, of heads or detectors, to a store, or to images.",
    ),
    "report": (
        "aggregate.reporting:report",
        "Make report, figures, tables and methods of a finished run again, from its folder alone.",
    ),
    "export": (
        "aggregate.exporting:export",
        "Write a store, or a finished run, as AnnData, xarray, Hugging Face, BIDS or MLflow read it.",
    ),
    "status": (
        "cache_schema.status.cli:status",
        "Say how far a store is, who is at work on it, and how long it will take.",
    ),
    "recompute": (
        "extract.recompute.cli:recompute",
        "Make some slices of a store again from their images and compare every number.",
    ),
    "simulate": ("extract.simulate.cli:simulate", "Write a labelled BIDS cohort to try everything on."),
    "backbone": (
        "extract.fetch.cli:backbone",
        "List the backbones; fetch weights where there is internet, for nodes that have none.",
    ),
    "cache": (
        "cache_schema.cli:cache",
        "Look into a store, check, pack, merge and export it, remove a participant.",
    ),
}
"""Verb -> where it lives and its line in the help. The modules are imported when needed."""

SECTION_MODELS = {
    "run": "cache_schema.common.pipeline_file:RunSection",
    "cache": "cache_schema.common.pipeline_file:CacheSection",
    "extract": "extract.planning.config:ExtractSection",
    "aggregate": "aggregate.config.section:DetectSection",
}
"""Section of a pipeline file -> its model; of `aggregate` the one that has a target or has none."""


if not TYPE_CHECKING:  # or every misspelt name would pass the checkers
    _offered, __dir__ = lazy_names("slicecache", PUBLIC_NAMES)

    def __getattr__(name: str) -> Any:
        if name != "__version__":
            return _offered(name)
        from importlib.metadata import version

        return version("slicecache")


def run(
    pipeline: PipelineFile,
    overrides: SetValues,
    shuffle_labels: ShuffleLabels = 0,
    time_epoch: TimeEpoch = False,
    as_json: AsJson = False,
) -> int:
    """Extract, train and report as PIPELINE says; finished parts are not done again."""
    import json

    from aggregate.cli import describe_training, refusal_without_rows, train_and_report
    from aggregate.cli import read_training_section as read_aggregate
    from aggregate.common.run_folder import verb_folder
    from cache_schema.common.pipeline_file import load_pipeline
    from cache_schema.files.disk.room import require_writable
    from extract.cli import read_extract_section as read_extract
    from extract.extraction import run_extraction
    from extract.said import describe_extraction

    loaded = load_pipeline(pipeline, overrides)
    # Both sections are checked before the long part starts: a typo in stage two must not cost a night.
    first, second = read_extract(loaded), read_aggregate(loaded)
    require_writable(verb_folder(loaded.folder(), "train"), "the run folder")
    outcome = run_extraction(loaded, first, agreed=refusal_without_rows(loaded, second))
    if not as_json:
        typer.echo(describe_extraction(outcome))
    results = train_and_report(loaded, second, shuffle_labels)
    timed = {"epoch": timed_epoch(loaded, second)} if time_epoch else {}
    if as_json:
        typer.echo(json.dumps({"extract": outcome.as_json(), "train": results.metrics} | timed))
    else:
        say(describe_training(results, loaded.folder()))
    return 0 if outcome.complete else 1


def timed_epoch(pipeline: "Pipeline", section: "AggregateSection") -> dict[str, Any]:
    """One epoch of one fold with the backbone in the loop, beside all epochs of that fold from the store.

    Args:
        pipeline: That has been run.
        section: Its `aggregate` section.

    Returns:
        What `epoch.json` in the run folder holds.
    """
    from dataclasses import asdict

    from aggregate.common.artefacts import write_json
    from aggregate.common.run_folder import EPOCH
    from aggregate.present import present_index
    from aggregate.train.epoch import train_one_fold
    from extract.recompute.epoch import embed_once_more

    fold = train_one_fold(pipeline, section)
    again = embed_once_more(section.home(pipeline)[0], fold.keys, pipeline)
    found = {"with_backbone": asdict(again), "from_store": {"epochs": fold.epochs, "seconds": fold.seconds}}
    write_json(pipeline.folder() / EPOCH, found)
    present_index(pipeline.folder())
    return found


def say_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"slicecache {version('slicecache')}")
        raise typer.Exit


def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=say_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where a mistake came from (a traceback), with any verb.")
    ] = False,
) -> None:
    """Read every slice of a brain MRI cohort once; train and compare heads from the cache in seconds.

    \b
    slicecache simulate runs/demo/cohort     a cohort to try it on
    slicecache init                          a pipeline file by five questions
    slicecache run pipeline.yaml             store, heads, statistics, report
    """  # noqa: D301
    context.obj = images_to_embed
    context.meta["slicecache.sections"] = SECTION_MODELS
    context.meta["slicecache.foreseen"] = "aggregate.cohort.foreseen:foreseen"
    context.meta["slicecache.positive"] = "aggregate.targets.positive:positive_of"


def images_to_embed(
    where: list[str], store: str, folder: "Path | None", backbone: "Path | None", overrides: list[str]
) -> "Images":
    """Stage one, for verbs of stage two that take images in place of a store."""
    from extract.images import Images

    images = Images(where, store, folder=folder, backbone=backbone, progress=True)
    images.overrides = overrides
    return images


cli = lazy_group(COMMANDS, root)


def main() -> None:
    """Entry point of the `slicecache` command."""
    # Idle OpenMP threads that spin instead of sleeping take the cores from the decoding processes and
    # slow everything several times as soon as the machine has any other work. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    leave(guarded(cli.main))


if __name__ == "__main__":
    main()
