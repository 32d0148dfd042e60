"""What `import slicecache as sc` offers of stage one."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache_schema.common.given_config import Config, given_pipeline
from cache_schema.common.pipeline_file import Pipeline
from extract.extraction import run_extraction as extract_pipeline
from extract.outcome import Outcome
from extract.planning.config import ExtractSection

if TYPE_CHECKING:
    from extract.simulate.cohort import Effect
    from extract.simulate.lesion import Change
    from extract.simulate.tree import Simulated


def extract(
    config: Config = None,
    *,
    store: str | Path | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
    readmit: Sequence[str] = (),
    **keys: Any,
) -> Outcome:
    """Embed every volume of the input that the store does not hold yet.

    It may be called again at any time: what is committed and unchanged is not done twice. Volumes are decoded
    in spawned processes, so a script that calls this needs `if __name__ == "__main__":`, or `workers=0`.

    Args:
        config: A pipeline as a mapping, its `extract` section alone, or the path of a pipeline file.
        store: Where the store is or will be, instead of the config's.
        folder: A run folder for `failures.tsv`; without it failures are in the result alone.
        progress: Whether to report on standard error.
        readmit: Participants who were withdrawn from the store by `cache remove`, and are taken back.
        keys: Keys of the `extract` section, instead of the config's.

    Returns:
        How many volumes were embedded, skipped and failed, `.failures` with the reasons, the content digest;
        where `stores` names several, of the first, and of the others as `.beside`.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If the store was made otherwise.

    Example:
        >>> backbone = {"kind": "untrained", "size": "tiny", "seed": 0}
        >>> sc.extract(store="cache.zarr", input={"bids": "cohort"}, backbone=backbone, workers=0)
    """
    if folder is not None:
        own = Path(folder).expanduser().absolute()
        pipeline = given_pipeline(config, "extract", folder=own, store=store, keys=keys)
        return _extract(pipeline, progress, readmit)
    with tempfile.TemporaryDirectory(prefix="slicecache-") as place:
        pipeline = given_pipeline(config, "extract", folder=Path(place), store=store, keys=keys)
        found = _extract(pipeline, progress, readmit)
        beside = tuple(replace(each, failures_table="") for each in found.beside)
        return replace(found, failures_table="", beside=beside)


def _extract(pipeline: Pipeline, progress: bool, readmit: Sequence[str]) -> Outcome:
    return extract_pipeline(pipeline, pipeline.section("extract", ExtractSection), progress, readmit)


def simulate(
    folder: str | Path,
    participants: int = 48,
    effect: "Effect" = "atrophy",
    seed: int = 0,
    *,
    lesion: "Change" = "dark",
    lesion_masks: str | Path | None = None,
    lesion_ml: float | None = None,
    groups: Sequence[str] = ("control", "patient"),
    coarseness: float = 1.0,
    workers: int | None = None,
) -> "Simulated":
    """Write a labelled BIDS cohort to try everything on, drawn from the MNI152 template that nilearn ships.

    The same arguments give the same bytes; a complete folder of the same arguments is left as it is.

    Args:
        folder: Where; made if it is not there.
        participants: How many; half of them patients.
        effect: What patients have: `atrophy` (wide ventricles), `lesion` (with masks) or `none`.
        seed: Of everything.
        lesion: What lesions look like: darker tissue, or only another `texture` of the same mean.
        lesion_masks: Folder (or pattern) of masks in MNI space that lesions take their shape from.
        lesion_ml: One lesion per patient, its volume log-normal with this median in ml, as strokes' are.
        groups: Diagnoses, from none of the effect to all of it; more than two with `atrophy` only.
        coarseness: Factor on all voxel sizes: 2 is an eighth of the voxels, for a quick try.
        workers: Processes; all processors by default.

    Raises:
        SlicecacheError: If something else is in the folder.

    Example:
        >>> made = sc.simulate("cohort", participants=8, effect="lesion", seed=1)
        >>> made.volumes
    """
    from extract.simulate.tree import simulate_tree

    masks = None if lesion_masks is None else Path(lesion_masks)
    return simulate_tree(
        Path(folder),
        participants,
        effect,
        seed,
        lesion=lesion,
        lesion_masks=masks,
        lesion_ml=lesion_ml,
        groups=groups,
        coarseness=coarseness,
        workers=workers,
    )
