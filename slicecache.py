"""The conductor: the `slicecache` command, and what `import slicecache as sc` offers.

The command mounts what the stages offer and runs them in order. Nothing heavy is imported until a command
runs or a name is used: `slicecache --help` and `import slicecache` answer at once, without torch.
"""

import copy
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from cache_schema.common.errors import SlicecacheError
from cache_schema.common.lazy_names import imported, lazy_names

if TYPE_CHECKING:
    from aggregate.api.bag_arrays import BagArrays as BagArrays
    from aggregate.api.dataset import Bag as Bag
    from aggregate.api.dataset import BagDataset as BagDataset
    from aggregate.api.dataset import collate_bags as collate_bags
    from aggregate.api.estimator import HeadClassifier as HeadClassifier
    from aggregate.api.given_bags import InputError as InputError
    from aggregate.api.predicting import predict as predict
    from aggregate.api.results import AblateResult as AblateResult
    from aggregate.api.results import DetectResult as DetectResult
    from aggregate.api.results import TrainResult as TrainResult
    from aggregate.api.store import Store as Store
    from aggregate.api.store import open as open
    from aggregate.api.store import verify as verify
    from aggregate.api.studies import ablate as ablate
    from aggregate.api.studies import detect as detect
    from aggregate.api.studies import train as train
    from aggregate.testing.detectors import check_detector as _check_detector
    from cache_schema.common.errors import ConfigError as ConfigError
    from cache_schema.common.errors import StoreError as StoreError
    from cache_schema.common.errors import StoreMismatch as StoreMismatch
    from extract.api import extract as extract
    from extract.api import simulate as simulate
    from extract.embedding import Embedding as Embedding
    from extract.embedding import embed as embed
    from extract.testing.backbones import check_backbone as _check_backbone

    class testing:  # noqa: N801
        """Laws that every part keeps, ours and a stranger's, to be run from anybody's tests."""

        check_backbone = staticmethod(_check_backbone)
        check_detector = staticmethod(_check_detector)


NAMES: dict[str, Any] = {
    "open": "aggregate.api.store:open",
    "verify": "aggregate.api.store:verify",
    "train": "aggregate.api.studies:train",
    "ablate": "aggregate.api.studies:ablate",
    "detect": "aggregate.api.studies:detect",
    "predict": "aggregate.api.predicting:predict",
    "extract": "extract.api:extract",
    "simulate": "extract.api:simulate",
    "embed": "extract.embedding:embed",
    "Embedding": "extract.embedding:Embedding",
    "Store": "aggregate.api.store:Store",
    "BagArrays": "aggregate.api.bag_arrays:BagArrays",
    "Bag": "aggregate.api.dataset:Bag",
    "BagDataset": "aggregate.api.dataset:BagDataset",
    "collate_bags": "aggregate.api.dataset:collate_bags",
    "TrainResult": "aggregate.api.results:TrainResult",
    "AblateResult": "aggregate.api.results:AblateResult",
    "DetectResult": "aggregate.api.results:DetectResult",
    "HeadClassifier": "aggregate.api.estimator:HeadClassifier",
    "InputError": "aggregate.api.given_bags:InputError",
    "ConfigError": "cache_schema.common.errors:ConfigError",
    "StoreError": "cache_schema.common.errors:StoreError",
    "StoreMismatch": "cache_schema.common.errors:StoreMismatch",
    "SlicecacheError": "cache_schema.common.errors:SlicecacheError",
    "testing": {
        "check_backbone": "extract.testing.backbones:check_backbone",
        "check_detector": "aggregate.testing.detectors:check_detector",
    },
}
"""What `import slicecache as sc` offers: name -> where it lives; imported when it is used (PEP 562). The
same names stand above for type checkers."""

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
    "simulate": ("extract.simulate.cli:simulate", "Write a labelled BIDS cohort to try everything on."),
    "cache": (
        "cache_schema.cli:cache",
        "Look into a store, check, pack and export it, remove a participant.",
    ),
}
"""Command name -> where it lives and its line in the help. The modules are imported when needed."""

ADDITIONS = {("cache", "verify"): "extract.recompute.cli:with_deep"}
"""Command of one room -> the function of another room that gives it back with more options."""

EXTRAS = {
    "nibabel": "extract",
    "PIL": "extract",
    "huggingface_hub": "extract",
    "torch": "extract,aggregate",
    "scipy": "extract,aggregate",
    "safetensors": "extract,aggregate",
    "rich": "extract,aggregate",
    "jaxtyping": "aggregate",
    "pandas": "aggregate",
    "sklearn": "aggregate",
    "jinja2": "report",
    "matplotlib": "report",
    "nilearn": "simulate",
}
"""Import name -> the extra that brings it."""


if not TYPE_CHECKING:  # or every misspelt name would pass the checkers
    __getattr__, __dir__ = lazy_names(__name__, NAMES)


class Conductor(click.Group):
    """A group whose commands are imported when they are used, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = imported(COMMANDS[cmd_name][0])
        if not isinstance(command, click.Group):
            return command
        # A copy: the room's own group stays as the room made it.
        group = copy.copy(command)
        group.commands = dict(command.commands)
        for (name, inner), place in ADDITIONS.items():
            if name == cmd_name:
                group.commands[inner] = imported(place)(group.commands[inner])
        return group

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=Conductor, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="slicecache")
def cli() -> None:
    r"""Read every slice of a brain MRI cohort once; train and compare heads from the cache in seconds.

    \b
    slicecache simulate runs/demo/cohort     a cohort to try it on
    slicecache run pipeline.yaml             store, heads, statistics, report
    """


@click.command()
@click.argument("pipeline", type=click.Path(dir_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override a value, e.g. aggregate.loss.supcon=0.5.",
)
@click.option(
    "--shuffle-labels",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also train on N permutations of the labels.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
def run(pipeline: str, overrides: Sequence[str], shuffle_labels: int, as_json: bool) -> int:
    """Extract, train and report as PIPELINE says; finished parts are not done again."""
    import json
    from pathlib import Path

    from aggregate.cli import describe_training
    from aggregate.cli import read_section as read_aggregate
    from aggregate.train.train import train_pipeline
    from cache_schema.common.pipeline_file import load_pipeline
    from extract.cli import describe_extraction
    from extract.cli import read_section as read_extract
    from extract.extraction import extract

    loaded = load_pipeline(Path(pipeline), overrides)
    # Both sections are checked before the long part starts: a typo in stage two must not cost a night.
    first, second = read_extract(loaded), read_aggregate(loaded)
    outcome = extract(loaded, first)
    if not as_json:
        click.echo(describe_extraction(outcome))
    results = train_pipeline(loaded, second, shuffle_labels=shuffle_labels)
    if as_json:
        click.echo(json.dumps({"extract": outcome.as_json(), "train": results.metrics}))
    else:
        click.echo(describe_training(results))
    return 1 if outcome.failed else 0


def guarded(command: Callable[..., Any], arguments: Sequence[str] | None = None) -> int:
    """Run a click command and turn every expected ending into an exit code.

    Returns:
        0 when all was done, 1 when some volumes failed, 2 for a mistake in what was asked or given.
    """
    try:
        result = command(args=arguments, standalone_mode=False)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; what was committed stays, and the same command goes on from there", err=True)
        return 130
    except SlicecacheError as error:
        click.echo(f"slicecache: {error}", err=True)
        return 2
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        click.echo(
            f"slicecache: this command needs {error.name}: pip install 'slicecache[{extra}]'", err=True
        )
        return 2
    except BrokenPipeError:
        return 141
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the `slicecache` command."""
    # Idle OpenMP threads that spin instead of sleeping take the cores from the decoding processes and
    # slow everything several times as soon as the machine has any other work. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(guarded(cli.main))


if __name__ == "__main__":
    main()
