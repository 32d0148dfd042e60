"""`slicecache doctor`: what this machine offers to an extraction."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cache_schema.common.terminal.command import say
from cache_schema.common.terminal.options import AsJson, SetValues

AskNetwork = Annotated[
    bool, typer.Option("--network", help="Also ask the hub whether it answers; nothing else calls out.")
]
MaybePipeline = Annotated[
    Path | None,
    typer.Argument(metavar="[PIPELINE]", show_default=False, help="Also look at what this pipeline needs."),
]


def doctor(
    overrides: SetValues, pipeline: MaybePipeline = None, network: AskNetwork = False, as_json: AsJson = False
) -> int:
    """Look at Python, torch, GPUs, cores, memory, disks, weights and scheduler, with advice.

    Ends with 1 when something is a problem. Writes nothing but a temporary folder beside the store.
    """
    from cache_schema.common.pipeline_file import load_pipeline
    from extract.doctor.examine import examine
    from extract.doctor.finding import findings_json, findings_text, problems

    findings = examine(None if pipeline is None else load_pipeline(pipeline, overrides), network)
    if as_json:
        typer.echo(json.dumps(findings_json(findings)))
    else:
        say(findings_text(findings))
    return 1 if problems(findings) else 0
