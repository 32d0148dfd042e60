"""The `slicecache simulate` command."""

import json

import click


@click.command()
@click.argument("out", type=click.Path(file_okay=False))
@click.option(
    "--participants",
    type=click.IntRange(min=2),
    default=48,
    show_default=True,
    help="How many; half of them patients.",
)
@click.option(
    "--effect",
    type=click.Choice(["atrophy", "lesion", "none"]),
    default="atrophy",
    show_default=True,
    help="What patients have: wide ventricles, lesions (with masks), or nothing.",
)
@click.option(
    "--lesion",
    type=click.Choice(["dark", "texture"]),
    default="dark",
    show_default=True,
    help="With --effect lesion: darker tissue, or only another texture of the same mean intensity.",
)
@click.option(
    "--lesion-masks",
    type=click.Path(),
    default=None,
    help="With --effect lesion: folder (or pattern) of masks in MNI space that give lesions their shape.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=None, help="Processes; all processors by default."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else.")
def simulate(
    out: str,
    participants: int,
    effect: str,
    lesion: str,
    lesion_masks: str | None,
    seed: int,
    workers: int | None,
    as_json: bool,
) -> int:
    """Write a labelled BIDS cohort to OUT, drawn from the MNI152 template that nilearn ships.

    The same options give the same bytes; a complete OUT of the same options is left as it is.
    """
    from pathlib import Path
    from typing import get_args

    from extract.simulate.cohort import Effect
    from extract.simulate.lesion import Change
    from extract.simulate.tree import simulate_tree as write

    chosen: Effect = next(known for known in get_args(Effect) if known == effect)
    look: Change = next(known for known in get_args(Change) if known == lesion)
    masks = None if lesion_masks is None else Path(lesion_masks)
    done = write(
        Path(out),
        participants,
        chosen,
        seed,
        lesion=look,
        lesion_masks=masks,
        workers=workers,
        progress=True,
    )
    if as_json:
        click.echo(json.dumps(done.as_json()))
    else:
        lesions = f", {done.lesion_masks} lesion masks" if done.lesion_masks else ""
        how = "complete already" if done.found else f"written in {done.seconds:.0f} s"
        click.echo(f"{done.folder}: {done.participants} participants, {done.volumes} volumes{lesions}; {how}")
    return 0
