"""The verb `init`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cache_schema.common.errors import ConfigError
from cache_schema.common.lazy_names import imported
from cache_schema.common.terminal.command import say

SECTIONS = "slicecache.sections"
"""Where the command says, in a context's `meta`, which model reads which section."""

PipelineOut = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline file to write.")]
ImagesPlace = Annotated[
    str | None,
    typer.Option("--images", metavar="PLACE", help="A BIDS folder, a table with a path per row, or a store."),
]
LabelsTable = Annotated[
    str | None, typer.Option("--labels", metavar="TABLE", help="CSV, TSV, .xlsx or Parquet with the labels.")
]
TargetColumn = Annotated[
    str | None, typer.Option("--target", metavar="COLUMN", help="The column to predict: classes or a number.")
]
BackboneName = Annotated[
    str | None,
    typer.Option("--backbone", metavar="NAME", help="Of `backbone list`, a folder, or a Hugging Face id."),
]
RunFolder = Annotated[str | None, typer.Option("--folder", metavar="FOLDER", help="Where the run goes.")]
ParticipantColumn = Annotated[
    list[str],
    typer.Option(
        "--participant",
        metavar="COLUMN",
        default_factory=list,
        show_default=False,
        help="Of whichever table calls it so, where it has no usual name; said twice, the images' table's "
        "and the labels'.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what no option says is as by default.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]
Schema = Annotated[
    bool, typer.Option("--schema", help="Print the JSON schema of pipeline files instead, for editors.")
]
Reference = Annotated[
    bool, typer.Option("--reference", help="Print every key of pipeline files instead, as Markdown.")
]


def init(
    context: typer.Context,
    participant: ParticipantColumn,
    pipeline: PipelineOut = Path("pipeline.yaml"),
    images: ImagesPlace = None,
    labels: LabelsTable = None,
    target: TargetColumn = None,
    backbone: BackboneName = None,
    folder: RunFolder = None,
    yes: Yes = False,
    force: Force = False,
    schema: Schema = False,
    reference: Reference = False,
) -> int:
    """Ask five questions and write a commented pipeline file.

    What an option says is not asked.
    """
    from cache_schema.common.pipeline_file import Pipeline
    from cache_schema.common.text.yaml_text import parse_yaml
    from extract.init.answers import Given, answers
    from extract.init.asking import asked, by_default
    from extract.init.foretold import positive_of, rows_of
    from extract.init.written import pipeline_text

    if schema or reference:
        if schema and reference:
            raise ConfigError("--schema and --reference print different things: say one of them")
        typer.echo(_printed(context.meta[SECTIONS], schema))
        return 0
    if pipeline.exists() and not force:
        raise ConfigError(f"{str(pipeline)!r} is there already: give another name, or --force")
    given = Given(images, labels, target, backbone, folder, tuple(participant))
    found = answers(given, by_default if yes else asked)
    text = pipeline_text(found, pipeline, positive_of(context.meta, found.target.counts))
    rows = rows_of(context.meta, Pipeline(parse_yaml(text, str(pipeline)), pipeline.absolute().parent))
    pipeline.write_text(text, encoding="utf-8")
    if rows:
        say(rows)
    verb = "plan" if "\nextract:" in text else "train"
    say(f"wrote {pipeline}; next: slicecache {verb} {pipeline}")
    return 0


def _printed(places: dict[str, str], schema: bool) -> str:
    """The schema, or the page."""
    from cache_schema.cluster.site import Site
    from cache_schema.words.reference import reference_page
    from cache_schema.words.schema import pipeline_schema

    sections: dict[str, Any] = {name: imported(place) for name, place in places.items()}
    return (
        json.dumps(pipeline_schema(sections), indent=2)
        if schema
        else reference_page({**sections, "site": Site})
    )
