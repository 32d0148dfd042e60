"""The command `explain`: what the heads of a finished training decide by, beside controls."""

import json
from pathlib import Path
from typing import Annotated

import typer

from aggregate.options import PagesOf, WithViewer
from cache_schema.common.terminal.command import say
from cache_schema.common.terminal.options import AllowCustom, AsJson, ProveWith

TrainedRun = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="A run folder that train has ended in, train/ in it, or a contrast's."
    ),
]
SetTrained = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        default_factory=list,
        show_default=False,
        help="Override a value of the training's config.yaml, where something has moved, e.g. "
        "cache.store=elsewhere.zarr or aggregate.cohort=table.csv; may be said again.",
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="METHOD",
        show_default=False,
        help='attention, leave_out, typical or gradients, or with options, e.g. "{kind: leave_out, '
        'window_mm: 12}"; may be said again. The first is the one that maps are of. By default all.',
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the random heads, and of who gets whose map.")]
NoMaps = Annotated[bool, typer.Option("--no-maps", help="Write no NIfTI maps.")]


def explain(
    run: TrainedRun,
    overrides: SetTrained,
    method: Methods = None,
    seed: Seed = 0,
    no_maps: NoMaps = False,
    pages: PagesOf = None,
    viewer: WithViewer = False,
    allow_custom: AllowCustom = False,
    prove: ProveWith = None,
    as_json: AsJson = False,
) -> int:
    """Say which slices the heads of a finished training decide by, out of fold, beside controls.

    A map that is not shown to beat every control is titled "not interpretable". Writes RUN/explain/ alone.
    """
    from aggregate.common.telling import read_people
    from aggregate.explain.methods.registry import read_methods
    from aggregate.explain.results import explain_run
    from aggregate.explain.run import open_run
    from aggregate.explain.terminal import explanation_summary
    from aggregate.present import last_lines, present_explanation

    methods, people = read_methods(method or []), read_people(pages, viewer)
    study = open_run(run, overrides, allow_custom, prove)
    results = explain_run(study, methods, seed, maps=not no_maps)
    present_explanation(results, people)
    if as_json:
        typer.echo(json.dumps(results.metrics))
    else:
        say(f"{explanation_summary(results.metrics)}\n{last_lines(study.run_folder, results.folder)}")
    return 0
