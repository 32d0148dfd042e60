"""`slicecache recompute STORE --slices K`: a store held against the images that it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cache_schema.common.terminal.options import AsJson, StorePlace

SliceCount = Annotated[
    int,
    typer.Option("--slices", min=1, metavar="K", help="How many, drawn evenly over all slices of the store."),
]
Seed = Annotated[int, typer.Option(min=0, show_default=False, help="Which K slices; 0 by default.")]
PipelinePlace = Annotated[
    Path | None,
    typer.Option(
        "--pipeline",
        metavar="FILE",
        help="Where images and backbone are; by default where the header says they were.",
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--input",
        metavar="PATH",
        help="Where the images are now: the BIDS folder, the manifest, or the folder that holds it.",
    ),
]
CheckpointFolder = Annotated[
    Path | None, typer.Option("--backbone", metavar="FOLDER", help="The checkpoint to use.")
]


def recompute(
    store: StorePlace,
    slices: SliceCount,
    seed: Seed = 0,
    pipeline: PipelinePlace = None,
    root: Root = None,
    backbone: CheckpointFolder = None,
    as_json: AsJson = False,
) -> int:
    """Make K random slices of STORE again from their images, with the backbone that its header names.

    Ends with 1 when a number does not come back within the tolerance, or an image has changed. `cache
    verify` holds a store against itself; this holds it against what it was made from.
    """
    from cache_schema.common.pipeline_file import load_pipeline
    from cache_schema.common.terminal.progress import bar
    from extract.recompute.recompute import recompute as make_again
    from extract.recompute.words import describe_check

    with bar("recomputing") as progress:
        found = make_again(
            store,
            slices,
            seed,
            pipeline=None if pipeline is None else load_pipeline(pipeline),
            root=root,
            backbone_folder=backbone,
            progress=progress,
        )
    typer.echo(json.dumps(found.as_json()) if as_json else describe_check(found))
    return 0 if found.ok else 1
