"""`cache verify STORE --deep K`: the option that stage one adds to the contract's command."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from extract.recompute.recompute import DeepCheck

OPTIONS: tuple[click.Option, ...] = (
    click.Option(
        ["--deep"],
        type=click.IntRange(min=1),
        metavar="K",
        help="Also recompute K random slices from their images with the backbone that the header names.",
    ),
    click.Option(["--seed"], type=click.IntRange(min=0), default=0, help="Which K slices; 0 by default."),
    click.Option(
        ["--pipeline"],
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Where images and backbone are; by default where the header says they were.",
    ),
    click.Option(
        ["--input", "root"],
        type=click.Path(),
        metavar="FOLDER",
        help="Where the images are now: the BIDS folder, the manifest, or the folder that holds it.",
    ),
    click.Option(
        ["--backbone"], type=click.Path(file_okay=False), metavar="FOLDER", help="The checkpoint to use."
    ),
)


def with_deep(verify: click.Command) -> click.Command:
    """The command with the options of the deep check; without `--deep` it does what it did."""

    def callback(
        deep: int | None,
        seed: int,
        pipeline: str | None,
        root: str | None,
        backbone: str | None,
        **plain: Any,
    ) -> int:
        check = verify.callback
        if check is None:
            raise TypeError(f"the command {verify.name!r} does nothing")
        places = {"--pipeline": pipeline, "--input": root, "--backbone": backbone}
        if deep is None:
            if given := [name for name, value in places.items() if value is not None]:
                raise click.UsageError(f"{given[0]} belongs to --deep K")
            return int(check(**plain))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = int(check(**plain))
        if code:
            # What is wrong with the store itself comes first: recomputing would only repeat it.
            click.echo(printed.getvalue(), nl=False)
            click.echo("not recomputed: mend the store first", err=True)
            return code
        from extract.recompute.words import describe_check

        found = run_deep(plain["store"], deep, seed, pipeline, root, backbone)
        if plain["as_json"]:
            whole = json.loads(printed.getvalue())
            click.echo(json.dumps({**whole, "ok": whole["ok"] and found.ok, "deep": found.as_json()}))
        else:
            click.echo(printed.getvalue() + describe_check(found))
        return 0 if found.ok else 1

    return click.Command(
        verify.name,
        callback=callback,
        params=[*verify.params, *OPTIONS],
        help=f"{inspect.cleandoc(verify.help or '')}\n\nWith --deep K, K random slices are made again "
        "from their images.",
    )


def run_deep(
    store: str, count: int, seed: int, pipeline: str | None, root: str | None, backbone: str | None
) -> DeepCheck:
    """Run the deep check with what was given on the command line."""
    from pathlib import Path

    from cache_schema.common.pipeline_file import load_pipeline
    from extract.recompute.recompute import recompute

    return recompute(
        store,
        count,
        seed,
        pipeline=None if pipeline is None else load_pipeline(Path(pipeline)),
        root=None if root is None else Path(root),
        backbone_folder=None if backbone is None else Path(backbone),
    )
