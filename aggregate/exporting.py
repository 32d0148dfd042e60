"""The command `export`: a store or a finished run in another program's format."""

import json
from typing import Annotated

import typer

from aggregate.interop.formats import Format, Rows
from cache_schema.common.terminal.command import say
from cache_schema.common.terminal.options import AsJson, SetValues

Where = Annotated[
    str, typer.Argument(metavar="STORE|RUN", help="A store (folder, zip, .h5, URL), or a run folder.")
]
Out = Annotated[
    str, typer.Argument(metavar="OUT", help="A new file (.h5ad, .nc), or a new folder with --format.")
]
FormatName = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="anndata (.h5ad), xarray (.nc), or a folder: huggingface, bids, mlflow; by default as OUT ends.",
    ),
]
TokenNames = Annotated[
    list[str],
    typer.Option(
        "--tokens",
        metavar="ARRAY",
        default_factory=list,
        show_default=False,
        help="An array to write, all that hold tokens by default; may be said again.",
    ),
]
RowsName = Annotated[
    Rows,
    typer.Option("--rows", help="Of AnnData: a row is a volume, the mean of its slices, or a slice."),
]
CohortFile = Annotated[
    str | None,
    typer.Option(
        metavar="TABLE", help="A table whose columns go beside the volumes; of a run its own by default."
    ),
]


def export(
    where: Where,
    out: Out,
    overrides: SetValues,
    tokens: TokenNames,
    kind: FormatName = None,
    rows: RowsName = "volume",
    cohort: CohortFile = None,
    as_json: AsJson = False,
) -> int:
    """Write STORE, or the store of RUN with its table, to OUT as AnnData, xarray or Hugging Face read it.

    `bids` writes embeddings, and the maps and curves of RUN, as BIDS derivatives; `mlflow` logs the ablation
    of RUN, offline. Host, command and paths stay behind; ids are the store's own. OUT must not be there yet.
    """
    from aggregate.interop.export import export as export_to
    from cache_schema.common.terminal.progress import bar

    with bar("writing") as progress:
        made = export_to(
            where,
            out,
            kind,
            tokens=tokens,
            rows=rows,
            cohort=cohort,
            overrides=overrides,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(made.as_json()))
    else:
        say(made.in_words())
    return 0
