"""`slicecache cache`: look into a store, check, seal and pack it, take it along, take a participant out."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cache_schema.store.reader import StoreReader

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else."
)


@click.group()
def cache() -> None:
    """Look into a store, check it, seal it, pack it, take it along, take a participant out."""


@cache.command()
@click.argument("store")
@as_json_option
def inspect(store: str, as_json: bool) -> int:
    """Say what is in STORE, how large it is and what it was made with."""
    from cache_schema.store.describe import describe_store, description_text

    description = describe_store(store)
    click.echo(json.dumps(description) if as_json else description_text(description))
    return 0


@cache.command()
@click.argument("store")
@click.option(
    "--full",
    is_flag=True,
    help="Also: zero tokens, norms out of the cohort's range, duplicated volumes, data without a record.",
)
@as_json_option
def verify(store: str, full: bool, as_json: bool) -> int:
    """Check STORE against itself: header, table, records, checksums and digests.

    Ends with 1 when anything is wrong, and names each problem by volume and array.
    """
    from cache_schema.verify.verification_text import verification_text
    from cache_schema.verify.verify import verify_store

    verification = verify_store(store, full=full)
    click.echo(json.dumps(verification.as_json()) if as_json else verification_text(verification))
    return 0 if verification.ok else 1


@cache.command()
@click.argument("store")
@as_json_option
def seal(store: str, as_json: bool) -> int:
    """Gather the records of STORE, so that it opens at once, and mark it complete.

    A later write takes the seal off.
    """
    from cache_schema.store.reader import open_store
    from cache_schema.store.seal import seal as seal_store

    seal_store(store)
    reader = open_store(store)
    digest = reader.content_digest()
    if as_json:
        click.echo(json.dumps({"sealed": True, "n_volumes": len(reader.entries), "content_digest": digest}))
    else:
        click.echo(f"sealed {store}: {len(reader.entries)} volumes, content digest {digest}")
    return 0


@cache.command()
@click.argument("store")
@click.option("--out", help="Where the packed store goes; without it, it replaces STORE.")
@click.option(
    "--shard-volumes", type=click.IntRange(2, 4096), help="Volumes per file [64, or 32 large ones]."
)
@as_json_option
def pack(store: str, out: str | None, shard_volumes: int | None, as_json: bool) -> int:
    """Gather a complete STORE in few large files, for file systems that hate small ones.

    The packed store is built beside, read back and compared before it takes STORE's place. It is read
    only: `unpack` makes it writable again.
    """
    from cache_schema.move.pack import pack as pack_store

    return _rebuilt("packed", pack_store(store, out, shard_volumes), as_json)


@cache.command()
@click.argument("store")
@click.option("--out", help="Where the unpacked store goes; without it, it replaces STORE.")
@as_json_option
def unpack(store: str, out: str | None, as_json: bool) -> int:
    """Give a packed STORE one file per volume again, so that it can be written to."""
    from cache_schema.move.pack import unpack as unpack_store

    return _rebuilt("unpacked", unpack_store(store, out), as_json)


@cache.command()
@click.argument("store")
@click.argument("participant")
@as_json_option
def remove(store: str, participant: str, as_json: bool) -> int:
    """Delete everything that STORE holds of PARTICIPANT, whose consent was withdrawn.

    Nobody may write to STORE meanwhile. Copies, exports, trained heads and the images are not touched.
    """
    from cache_schema.move.remove import remove_participant

    removal = remove_participant(store, participant)
    keys = [str(key) for key in removal.volumes]
    if as_json:
        click.echo(json.dumps({"removed": keys, "sealed": removal.sealed}))
        return 0
    click.echo(f"removed from {store}: {', '.join(keys)}")
    click.echo(f"`slicecache cache verify --full {store}` proves it")
    click.echo(
        "not touched: the images (an extraction would embed them again), copies, exports, run folders and "
        "heads trained with this participant"
    )
    return 0


def _rebuilt(what: str, reader: "StoreReader", as_json: bool) -> int:
    """Say what came of packing or unpacking."""
    digest = reader.content_digest()
    n = len(reader.entries)
    if as_json:
        click.echo(
            json.dumps({what: True, "store": reader.location, "n_volumes": n, "content_digest": digest})
        )
    else:
        click.echo(f"{what} {reader.location}: {n} volumes read back, content digest {digest}")
    return 0


@cache.command()
@click.argument("store")
@click.argument("out")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["store", "volumes"]),
    default="store",
    help="`store`: one file that opens like the store; `volumes`: a folder with one .h5 per volume, as "
    "CLAM, TRIDENT and STAMP read them.",
)
@click.option("--tokens", help="The array that `--format volumes` writes.  [default: cls]")
@click.option("--pseudonymise", is_flag=True, help="Replace participant and session ids.")
@click.option(
    "--mapping",
    metavar="TSV",
    help="Where the pseudonyms are kept; those of an earlier export are used again. "
    "[default: OUT.pseudonyms.tsv]",
)
@click.option("--previews", is_flag=True, help="Take the images of the slices along.")
@as_json_option
def export(
    store: str,
    out: str,
    kind: str,
    tokens: str | None,
    pseudonymise: bool,
    mapping: str | None,
    previews: bool,
    as_json: bool,
) -> int:
    """Write the committed volumes of STORE to one file OUT (.h5), without host, command and paths."""
    from cache_schema.common.errors import ConfigError
    from cache_schema.move.export import export_store, export_volumes, prepare_pseudonyms

    for wrong, sentence in (
        (mapping and not pseudonymise, "--mapping is for --pseudonymise, which is not given"),
        (previews and kind == "volumes", "--format volumes holds no previews"),
        (tokens and kind == "store", "--tokens is for --format volumes; a store is exported whole"),
    ):
        if wrong:
            raise ConfigError(sentence)
    keep = (mapping or f"{out.rstrip('/')}.pseudonyms.tsv") if pseudonymise else None
    pseudonyms = None if keep is None else prepare_pseudonyms(store, out, keep)
    if kind == "volumes":
        made = export_volumes(store, out, tokens or "cls", pseudonyms=pseudonyms)
    else:
        made = export_store(store, out, pseudonyms=pseudonyms, previews=previews)
    click.echo(json.dumps({**made.as_json(), "mapping": keep}) if as_json else made.in_words())
    if keep is not None and not as_json:
        click.echo(f"the pseudonyms are in {keep}: keep it, and never send it along")
    return 0


@cache.command(name="import")
@click.argument("export")
@click.argument("out")
@as_json_option
def import_(export: str, out: str, as_json: bool) -> int:
    """Make a folder OUT of EXPORT (an .h5, a .zip or any store), which can be written to again."""
    from cache_schema.move.export import import_store

    made = import_store(export, out)
    click.echo(json.dumps(made.as_json()) if as_json else made.in_words())
    return 0
