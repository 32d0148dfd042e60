"""`slicecache backbone`: which backbones there are, and fetching weights where there is internet."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.command import application, say
from cache_schema.common.terminal.options import AsJson, SetValues
from cache_schema.files.disk.room import in_units

if TYPE_CHECKING:
    from extract.fetch.fetch import Fetched
    from extract.fetch.names import Wanted

backbone = application(
    add_completion=False, help="Say which backbones there are, and fetch weights for nodes without internet."
)


@backbone.command(name="list")
def list_(as_json: AsJson = False) -> int:
    """Kinds and sizes, where weights are looked for, and whether they are on this machine."""
    from extract.fetch.listing import list_backbones, listing_text

    rows = list_backbones()
    if as_json:
        typer.echo(json.dumps({"backbones": [row.as_json() for row in rows]}))
    else:
        say(listing_text(rows))
    return 0


Shown = Annotated[
    str,
    typer.Argument(
        metavar="PATH|NAME|PIPELINE",
        help="A folder with config.json and safetensors, a name from `list`, OWNER/NAME in the local cache, "
        "or a pipeline file.",
    ),
]
NoDigest = Annotated[bool, typer.Option("--no-digest", help="Do not read the weights themselves.")]


@backbone.command(name="show")
def show_(what: Shown, no_digest: NoDigest = False, as_json: AsJson = False) -> int:
    """What a checkpoint on this machine is: sizes, tokens, what it states of its pixels, weights, digest.

    No code of a repository runs, and nothing is asked of the network.
    """
    from extract.fetch.show import show
    from extract.fetch.shown_text import shown_text

    shown = show(what, not no_digest)
    if as_json:
        typer.echo(json.dumps(shown.as_json()))
    else:
        say(shown_text(shown))
    return 0


What = Annotated[
    str,
    typer.Argument(
        metavar="NAME|PIPELINE", help="dinov2/small, dinov2/OWNER/NAME@REVISION, or a pipeline file."
    ),
]
To = Annotated[
    Path | None,
    typer.Option("--to", metavar="FOLDER", help="A folder to make, in place of the Hugging Face cache."),
]
LockFile = Annotated[
    Path | None,
    typer.Option("--lock", metavar="FILE", help="Where the lock is written; in FOLDER, or beside PIPELINE."),
]


@backbone.command()
def fetch(
    what: What, overrides: SetValues, to: To = None, lock: LockFile = None, as_json: AsJson = False
) -> int:
    """Fetch the weights of a backbone, or of all those of PIPELINE, and write down what came.

    Commit, files and digests are the lock.
    With the lock in the pipeline (`extract.backbone.lock: FILE`) compute nodes load that and nothing else,
    and never ask the network. Interrupted, the same command goes on.
    """
    from extract.fetch.fetch import fetch as fetch_backbone
    from extract.fetch.names import wanted

    if to is not None and lock is not None:
        raise ConfigError("--lock is not for --to: the lock of a folder lies in it")
    every = wanted(what, overrides)
    if len(every) > 1 and (given := "--to" if to is not None else "--lock" if lock is not None else ""):
        raise ConfigError(
            f"{given} is for one backbone, and the stores of {what!r} name {len(every)}: leave it out, or "
            "fetch each by its own name, as `slicecache backbone list` has it"
        )
    objects = {}
    for found in every:
        fetched = fetch_backbone(found.spec, lock or found.lock, to)
        if as_json:
            nothing = {"fetched": False, "source": found.spec.source()}
            objects[found.store] = nothing if fetched is None else fetched.as_json()
        else:
            say(described(found, fetched, to is not None))
    if as_json:
        typer.echo(json.dumps({"backbones": objects} if len(every) > 1 else next(iter(objects.values()))))
    return 0


def described(found: "Wanted", fetched: "Fetched | None", in_folder: bool) -> str:
    """What came, where it lies, and what a pipeline says to use it."""
    whose = f"store {found.store}: " if found.store else ""
    if fetched is None:
        return f"{whose}nothing to fetch: {found.spec.source()}"
    lock = fetched.lock
    size = in_units(sum(file.bytes for file in lock.files))
    done = "fetched" if fetched.new else "already there:"
    where = f"path: {fetched.folder.absolute()}, " if in_folder else f"repository: {lock.repository}, "
    return "\n".join(
        [
            f"{whose}{done} {lock.repository} at {lock.revision}: {len(lock.files)} files, {size}",
            f"  in {fetched.folder}",
            f"  weights digest {lock.weights_sha256}",
            f"  lock {fetched.lock_file}",
            f"for the pipeline: backbone: {{kind: {lock.kind}, {where}lock: {fetched.lock_file.absolute()}}}",
        ]
    )
