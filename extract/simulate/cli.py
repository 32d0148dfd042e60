"""The `slicecache simulate` command."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from cache_schema.common.terminal.options import AsJson
from cache_schema.common.text.counts import counted

Participants = Annotated[int, typer.Option(min=2, help="How many; half of them patients.")]
EffectName = Annotated[
    Literal["atrophy", "lesion", "none"],
    typer.Option(help="What patients have: wide ventricles, lesions (with masks), or nothing."),
]
LesionLook = Annotated[
    Literal["dark", "texture"],
    typer.Option(
        help="With --effect lesion: darker tissue, or only another texture of the same mean intensity."
    ),
]
Masks = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="With --effect lesion: folder (or pattern) of masks in MNI space that give lesions their shape.",
    ),
]
LesionSize = Annotated[
    float | None,
    typer.Option(
        metavar="ML",
        help="With --effect lesion: one lesion per patient, its volume log-normal with this median in ml, as "
        "strokes' are.",
    ),
]
Groups = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME,...",
        help="With --effect atrophy: diagnoses in place of control and patient, from none of the effect to "
        "all of it.",
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; all processors by default.")]


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    participants: Participants = 48,
    effect: EffectName = "atrophy",
    lesion: LesionLook = "dark",
    lesion_masks: Masks = None,
    lesion_size: LesionSize = None,
    groups: Groups = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 0,
    workers: Workers = None,
    as_json: AsJson = False,
) -> int:
    """Write a labelled BIDS cohort to OUT, drawn from the MNI152 template that nilearn ships.

    The same options give the same bytes; a complete OUT of the same options is left as it is.
    """
    from cache_schema.common.terminal.progress import bar
    from extract.simulate.cohort import GROUPS
    from extract.simulate.tree import simulate_tree as write

    masks = None if lesion_masks is None else Path(lesion_masks)
    with bar("simulating") as progress:
        done = write(
            out,
            participants,
            effect,
            seed,
            lesion=lesion,
            lesion_masks=masks,
            lesion_ml=lesion_size,
            groups=GROUPS if groups is None else groups.split(","),
            workers=workers,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(done.as_json()))
    else:
        lesions = f", {counted(done.lesion_masks, 'lesion mask')}" if done.lesion_masks else ""
        made = f"{counted(done.participants, 'participant')}, {counted(done.volumes, 'volume')}{lesions}"
        how = "complete already" if done.found else f"written in {done.seconds:.0f} s"
        typer.echo(f"{done.folder}: {made}; {how}")
    return 0
