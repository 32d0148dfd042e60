"""`slicecache cache merge` and `slicecache cache subset`."""

import json
from typing import Annotated

import typer

from cache_schema.common.terminal.options import AsJson, StorePlace
from cache_schema.common.terminal.visible import visible

Stores = Annotated[
    list[str], typer.Argument(metavar="STORE", help="Folders, zips, .h5 files or URLs, in any order.")
]
Out = Annotated[str, typer.Option("--out", metavar="OUT", help="The folder to make.")]
MixedNumerics = Annotated[
    bool,
    typer.Option(
        "--mixed-numerics",
        help="Take volumes that were computed with other arithmetic (bfloat16 and float32): each record then "
        "says which, and training warns.",
    ),
]
Participants = Annotated[
    list[str],
    typer.Option(
        "--participants",
        metavar="ID|TABLE",
        default_factory=list,
        show_default=False,
        help="An id, or a TSV or CSV with participant_id[, session_id, volume_id]; may be said again.",
    ),
]
Arrays = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="The arrays to keep, e.g. cls,patch_mean; default all.")
]


def merge(stores: Stores, out: Out, mixed_numerics: MixedNumerics = False, as_json: AsJson = False) -> int:
    """Make one store OUT of several of one fingerprint, such as those of two centres.

    A volume that several have is there once; with unequal numbers it is refused. Whoever was withdrawn from
    one of them is left out. The inputs are not touched.
    """
    from cache_schema.common.terminal.progress import bar
    from cache_schema.move.merging.merge import merge_stores

    with bar("merging") as progress:
        made = merge_stores(stores, out, mixed_numerics=mixed_numerics, progress=progress)
    typer.echo(json.dumps(made.as_json()) if as_json else visible(made.in_words()))
    return 0


def subset(
    store: StorePlace,
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder to make.")],
    participants: Participants,
    arrays: Arrays = None,
    as_json: AsJson = False,
) -> int:
    """Make a store OUT of some participants of STORE, or of some of its arrays."""
    from cache_schema.common.terminal.progress import bar
    from cache_schema.move.merging.subset import subset_store

    names = [name.strip() for name in arrays.split(",")] if arrays is not None else []
    with bar("copying") as progress:
        made, unmatched = subset_store(store, out, participants=participants, arrays=names, progress=progress)
    if as_json:
        typer.echo(json.dumps({**made.as_json(), "unmatched_rows": unmatched}))
        return 0
    typer.echo(visible(made.in_words()))
    if unmatched:
        typer.echo(f"{unmatched} rows of the tables match no volume of the store")
    return 0
