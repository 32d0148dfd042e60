"""`slicecache cache`: look into a store, check, seal and pack it, take it along, take a participant out."""

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.command import application
from cache_schema.common.terminal.options import AsJson, StorePlace
from cache_schema.common.terminal.visible import visible
from cache_schema.common.text.counts import counted
from cache_schema.move.merging.cli import merge, subset

if TYPE_CHECKING:
    from cache_schema.store.reader import StoreReader

cache = application(
    add_completion=False,
    help="Look into a store, check it, seal it, pack it, merge it, take it along, take a participant out.",
)
cache.command()(merge)
cache.command()(subset)


@cache.command()
def inspect(store: StorePlace, as_json: AsJson = False) -> int:
    """Say what is in STORE, how large it is and what it was made with."""
    from cache_schema.store.describe import describe_store, description_text

    description = describe_store(store)
    typer.echo(json.dumps(description) if as_json else visible(description_text(description)))
    return 0


Full = Annotated[
    bool,
    typer.Option(
        "--full",
        help="Also: zero tokens, norms out of the cohort's range, duplicated volumes, data without a record.",
    ),
]
Deep = Annotated[int | None, typer.Option("--deep", hidden=True)]


@cache.command()
def verify(store: StorePlace, full: Full = False, deep: Deep = None, as_json: AsJson = False) -> int:
    """Check STORE against itself: header, table, records, checksums and digests.

    Ends with 1 when anything is wrong, and names each problem by volume and array.
    """
    if deep is not None:
        raise ConfigError(
            f"--deep is a verb of its own now: slicecache recompute {store} --slices {deep}, with the same "
            "options"
        )
    from cache_schema.common.terminal.progress import bar
    from cache_schema.verify.verification_text import verification_text
    from cache_schema.verify.verify import verify_store

    with bar("verifying") as progress:
        verification = verify_store(store, progress, full=full)
    typer.echo(json.dumps(verification.as_json()) if as_json else visible(verification_text(verification)))
    return 0 if verification.ok else 1


@cache.command()
def seal(store: StorePlace, as_json: AsJson = False) -> int:
    """Gather the records of STORE, so that it opens at once, and mark it complete.

    A later write takes the seal off.
    """
    from cache_schema.store.reader import open_store
    from cache_schema.store.seal import seal as seal_store

    seal_store(store)
    reader = open_store(store)
    digest = reader.content_digest()
    if as_json:
        typer.echo(json.dumps({"sealed": True, "n_volumes": len(reader.entries), "content_digest": digest}))
    else:
        typer.echo(f"sealed {store}: {counted(len(reader.entries), 'volume')}, content digest {digest}")
    return 0


@cache.command()
def finish(
    store: StorePlace,
    pack: Annotated[bool, typer.Option(help="Gather it in few large files, where no volume failed.")] = True,
    as_json: AsJson = False,
) -> int:
    """End an extraction by many tasks: check that STORE has every planned volume, verify, seal and pack it.

    Ends with 1 when a volume is missing, failed or damaged, and names it; a store that lacks volumes is
    not sealed.
    """
    from cache_schema.move.finish import finish_store

    done = finish_store(store, pack)
    typer.echo(json.dumps(done.as_json()) if as_json else visible(done.in_words()))
    return 0 if done.ok else 1


Out = Annotated[
    str | None, typer.Option("--out", metavar="STORE", help="Where it goes; without it, it replaces STORE.")
]
ShardVolumes = Annotated[
    int | None, typer.Option(min=2, max=4096, help="Volumes per file; 64, or 32 large ones, by default.")
]


@cache.command()
def pack(
    store: StorePlace, out: Out = None, shard_volumes: ShardVolumes = None, as_json: AsJson = False
) -> int:
    """Gather a complete STORE in few large files, for file systems that hate small ones.

    The packed store is built beside, read back and compared before it takes STORE's place. It is read
    only: `unpack` makes it writable again.
    """
    from cache_schema.move.pack import pack as pack_store

    return _rebuilt("packed", pack_store(store, out, shard_volumes), as_json)


@cache.command()
def unpack(store: StorePlace, out: Out = None, as_json: AsJson = False) -> int:
    """Give a packed STORE one file per volume again, so that it can be written to."""
    from cache_schema.move.pack import unpack as unpack_store

    return _rebuilt("unpacked", unpack_store(store, out), as_json)


@cache.command()
def remove(
    store: StorePlace,
    participant: Annotated[str, typer.Argument(metavar="PARTICIPANT", help="As the store names them.")],
    as_json: AsJson = False,
) -> int:
    """Delete everything that STORE holds of PARTICIPANT, whose consent was withdrawn, and keep them out.

    Later extractions leave them out; `extract --readmit` undoes it. Copies, exports, trained heads and the
    images are not touched.
    """
    from cache_schema.move.remove import remove_participant

    removal = remove_participant(store, participant)
    keys = [str(key) for key in removal.volumes]
    if as_json:
        typer.echo(json.dumps({"removed": keys, "sealed": removal.sealed}))
        return 0
    typer.echo(f"removed from {store}: {', '.join(keys) or 'nothing, it was withdrawn before'}")
    typer.echo(f"`slicecache cache verify --full {store}` proves it; extractions leave {participant} out now")
    typer.echo(
        "not touched: the images, copies, exports, run folders and heads trained with this participant"
    )
    return 0


def _rebuilt(what: str, reader: "StoreReader", as_json: bool) -> int:
    """Say what came of packing or unpacking."""
    digest = reader.content_digest()
    n = len(reader.entries)
    if as_json:
        typer.echo(
            json.dumps({what: True, "store": reader.location, "n_volumes": n, "content_digest": digest})
        )
    else:
        typer.echo(f"{what} {reader.location}: {counted(n, 'volume')} read back, content digest {digest}")
    return 0


Kind = Annotated[
    Literal["store", "volumes"],
    typer.Option(
        "--format",
        help="`store`: one file that opens like the store; `volumes`: a folder with one .h5 per volume, as "
        "CLAM, TRIDENT and STAMP read them.",
    ),
]
TokenNames = Annotated[
    str | None, typer.Option(metavar="ARRAY", help="What --format volumes writes; cls by default.")
]
Pseudonymise = Annotated[bool, typer.Option("--pseudonymise", help="Replace participant and session ids.")]
Mapping = Annotated[
    str | None,
    typer.Option(
        metavar="TSV",
        help="Where the pseudonyms are kept, OUT.pseudonyms.tsv by default; those of an earlier export are "
        "used again.",
    ),
]
Previews = Annotated[bool, typer.Option("--previews", help="Take the images of the slices along.")]
ReplaceExport = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Take the place of an earlier export at OUT, which stays until the new one is whole.",
    ),
]


@cache.command()
def export(
    store: StorePlace,
    out: Annotated[str, typer.Argument(metavar="OUT", help="A file, or a folder for --format volumes.")],
    kind: Kind = "store",
    tokens: TokenNames = None,
    pseudonymise: Pseudonymise = False,
    mapping: Mapping = None,
    previews: Previews = False,
    replace: ReplaceExport = False,
    as_json: AsJson = False,
) -> int:
    """Write the committed volumes of STORE to one file OUT (.h5), without host, command and paths."""
    from cache_schema.common.terminal.progress import bar
    from cache_schema.move.export import export_store, export_volumes, prepare_pseudonyms

    for wrong, sentence in (
        (mapping and not pseudonymise, "--mapping is for --pseudonymise, which is not given"),
        (previews and kind == "volumes", "--format volumes holds no previews"),
        (replace and kind == "volumes", "--replace is for one file; --format volumes makes a new folder"),
        (tokens and kind == "store", "--tokens is for --format volumes; a store is exported whole"),
    ):
        if wrong:
            raise ConfigError(sentence)
    keep = (mapping or f"{out.rstrip('/')}.pseudonyms.tsv") if pseudonymise else None
    pseudonyms = None if keep is None else prepare_pseudonyms(store, out, keep, replace)
    with bar("writing") as progress:
        if kind == "volumes":
            made = export_volumes(store, out, tokens or "cls", pseudonyms=pseudonyms, progress=progress)
        else:
            made = export_store(
                store, out, pseudonyms=pseudonyms, previews=previews, replace=replace, progress=progress
            )
    typer.echo(json.dumps({**made.as_json(), "mapping": keep}) if as_json else made.in_words())
    if keep is not None and not as_json:
        typer.echo(f"the pseudonyms are in {keep}: keep it, and never send it along")
    return 0


@cache.command(name="import")
def import_(
    export: Annotated[str, typer.Argument(metavar="EXPORT", help="What export wrote, or any store.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder to make.")],
    as_json: AsJson = False,
) -> int:
    """Make a folder OUT of EXPORT (an .h5, a zip or any store), which can be written to again."""
    from cache_schema.common.terminal.progress import bar
    from cache_schema.move.export import import_store

    with bar("writing") as progress:
        made = import_store(export, out, progress)
    typer.echo(json.dumps(made.as_json()) if as_json else made.in_words())
    return 0
