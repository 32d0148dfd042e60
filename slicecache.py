"""The conductor: the `slicecache` command. It mounts what the stages offer and runs them in order.

Nothing heavy is imported until a verb runs: `slicecache --help` answers at once, without torch.
"""

import os
from typing import Annotated

import typer

from cache_schema.common.command import guarded as guarded
from cache_schema.common.command import imported as imported
from cache_schema.common.command import lazy_group, leave
from cache_schema.common.options import AsJson, Overrides, PipelineFile, ShuffleLabels

COMMANDS = {
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
    "ablate": (
        "aggregate.cli:ablate",
        "Train many configurations on the same folds, test what was named before, report it.",
    ),
    "detect": (
        "aggregate.cli:detect",
        "Fit anomaly detectors on a reference group, map everybody else, measure and report it.",
    ),
    "predict": ("aggregate.cli:predict", "Apply a trained bundle, of heads or detectors, to a store."),
    "recompute": (
        "extract.recompute.cli:recompute",
        "Make some slices of a store again from their images and compare every number.",
    ),
    "simulate": ("extract.simulate.cli:simulate", "Write a labelled BIDS cohort to try everything on."),
    "cache": (
        "cache_schema.cli:cache",
        "Look into a store, check, pack and export it, remove a participant.",
    ),
}
"""Verb -> where it lives and its line in the help. The modules are imported when needed."""


def run(
    pipeline: PipelineFile, overrides: Overrides, shuffle_labels: ShuffleLabels = 0, as_json: AsJson = False
) -> int:
    """Extract, train and report as PIPELINE says; finished parts are not done again."""
    import json

    from aggregate.cli import describe_training, train_and_report
    from aggregate.cli import read_section as read_aggregate
    from cache_schema.common.pipeline_file import load_pipeline
    from extract.cli import describe_extraction
    from extract.cli import read_section as read_extract
    from extract.extraction import extract

    loaded = load_pipeline(pipeline, overrides)
    # Both sections are checked before the long part starts: a typo in stage two must not cost a night.
    first, second = read_extract(loaded), read_aggregate(loaded)
    outcome = extract(loaded, first)
    if not as_json:
        typer.echo(describe_extraction(outcome))
    results = train_and_report(loaded, second, shuffle_labels)
    if as_json:
        typer.echo(json.dumps({"extract": outcome.as_json(), "train": results.metrics}))
    else:
        typer.echo(describe_training(results, loaded.folder()))
    return 1 if outcome.failed else 0


def say_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"slicecache {version('slicecache')}")
        raise typer.Exit


def root(
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
    slicecache run pipeline.yaml             store, heads, statistics, report
    """  # noqa: D301


cli = lazy_group(COMMANDS, root)


def main() -> None:
    """Entry point of the `slicecache` command."""
    # Idle OpenMP threads that spin instead of sleeping take the cores from the decoding processes and
    # slow everything several times as soon as the machine has any other work. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    leave(guarded(cli.main))


if __name__ == "__main__":
    main()
