"""The BIDS tree on disk: volumes by several processes, tables, and the note that says what is done.

Every file's bytes follow from the parameters alone: gzip carries no time, and a volume is drawn from its
own seeds, so that the number of workers does not matter.
"""

import gzip
import hashlib
import json
import multiprocessing
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel

from cache_schema.common.errors import SlicecacheError
from cache_schema.common.stored_json import read_json
from cache_schema.common.terminal.progress import Progress
from cache_schema.common.text.mistakes import shown
from cache_schema.files.disk.room import require_writable
from cache_schema.files.disk.whole import write_whole
from extract.simulate.acquire import acquire
from extract.simulate.cohort import GROUPS, Effect, Participant, SimulatedVisit, plan_cohort
from extract.simulate.lesion import Change
from extract.simulate.look import Look, draw_look, require_look
from extract.simulate.masks import digest_masks, list_masks
from extract.simulate.tables import LESIONS, write_tables
from extract.simulate.template import load_template

NOTE = "simulation.json"
"""Holds the parameters from the start, and every file's size and digest once the tree is complete."""

GROUP = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
"""What a group may be called."""

SIMULATOR = 1
"""Raised when the same parameters no longer give the same bytes."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was written, or found complete."""

    folder: str
    participants: int
    volumes: int
    lesion_masks: int
    seconds: float
    found: bool
    """The tree was there already, complete, with the same parameters."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def require_groups(groups: Sequence[str], effect: Effect) -> None:
    """Refuse groups that no effect can be graded over.

    Raises:
        SlicecacheError: Saying what is expected.
    """
    if len(groups) < 2 or len(set(groups)) < len(groups) or not all(map(GROUP.fullmatch, groups)):
        raise SlicecacheError(
            "groups: two or more different names are expected, of letters, digits, _ and -, from none of the "
            f"effect to all of it, not {', '.join(map(shown, groups))}"
        )
    if len(groups) > 2 and effect == "lesion":
        raise SlicecacheError("groups: lesions are not graded; more than two groups go with --effect atrophy")


def simulate_tree(
    folder: Path,
    participants: int = 48,
    effect: Effect = "atrophy",
    seed: int = 0,
    *,
    lesion: Change = "dark",
    lesion_masks: Path | None = None,
    lesion_ml: float | None = None,
    groups: Sequence[str] = GROUPS,
    coarseness: float = 1.0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Simulated:
    """Write a cohort, or find it written.

    Args:
        folder: New, empty, or a simulation with the same parameters.
        participants: How many, at least 2.
        effect: What patients have: wide ventricles, lesions, or nothing.
        seed: Of everything.
        lesion: What lesions look like: darker tissue, or only another texture of the same mean.
        lesion_masks: Folder (or pattern) of masks in the template's (MNI) space that lesions take their
            shape from, one per patient; without it they are blobs.
        lesion_ml: One lesion per patient, its volume drawn around this median.
        groups: Diagnoses, from none of the effect to all of it; more than two with wide ventricles only.
        coarseness: Factor on all voxel sizes; tests use large ones.
        workers: Processes; by default as many as there are processors. 1 stays in this process.
        progress: Called with the volumes written and their number.

    Raises:
        SlicecacheError: If the folder holds something else, or lesions are asked for without the effect.
    """
    started = time.perf_counter()
    masks = () if lesion_masks is None else list_masks(lesion_masks)
    look = Look(lesion, masks, lesion_ml)
    require_look(look, effect)
    groups = tuple(groups)
    require_groups(groups, effect)
    parameters: dict[str, Any] = {
        "simulator": SIMULATOR,
        "participants": participants,
        "effect": effect,
        "seed": seed,
        "coarseness": coarseness,
    }
    # Named only where they were asked for: a tree without them stays what it was, note included.
    parameters |= {} if lesion == "dark" else {"lesion": lesion}
    parameters |= {"lesion_masks": digest_masks(masks)} if masks else {}
    parameters |= {} if lesion_ml is None else {"lesion_ml": lesion_ml}
    parameters |= {} if groups == GROUPS else {"groups": list(groups)}
    files = finished_files(folder, parameters)
    if files is not None:
        return summarise_tree(folder, participants, files, time.perf_counter() - started, found=True)
    require_writable(folder, "the cohort's folder")
    write_note(folder, parameters, None)
    cohort = plan_cohort(participants, effect, seed, coarseness, groups)
    written: dict[str, dict[str, Any]] = {}
    jobs = [(str(folder), person, visit, look) for person in cohort for visit in person.visits]
    for done, part in enumerate(run_jobs(jobs, workers), start=1):
        written |= part
        if progress is not None:
            progress(done, len(jobs))
    written |= write_tables(folder, cohort, effect, seed, look.words(LESIONS), groups)
    write_note(folder, parameters, written, look.planted(cohort))
    return summarise_tree(folder, participants, written, time.perf_counter() - started, found=False)


def finished_files(folder: Path, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """The files of a complete tree with these parameters; None if there is something to write.

    Raises:
        SlicecacheError: If the folder holds something else, or a simulation with other parameters.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    note = folder / NOTE
    if not note.is_file():
        raise SlicecacheError(f"{str(folder)!r} is not empty and no simulation; choose a new folder")
    try:
        found = read_json(note.read_bytes())
        theirs, files = dict(found["parameters"]), found["files"]
        sizes = None if files is None else {name: int(entry["bytes"]) for name, entry in files.items()}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise SlicecacheError(f"{str(note)!r} is damaged; remove the folder and simulate again") from error
    if theirs != parameters:
        names = [
            f"{name} is {parameters.get(name)!r} here and {shown(theirs.get(name))} there"
            for name in sorted(parameters.keys() | theirs.keys())
            if parameters.get(name) != theirs.get(name)
        ]
        raise SlicecacheError(
            f"{str(folder)!r} holds another simulation: {'; '.join(names)}. "
            "Choose a new folder, or remove that one first"
        )
    if sizes is None or not all(has_size(folder / name, size) for name, size in sizes.items()):
        return None
    return dict(files)


def has_size(path: Path, size: int) -> bool:
    """Whether a file is there with that many bytes."""
    # os.path: a name that no file system takes is no error to it.
    return os.path.isfile(path) and path.stat().st_size == size


def summarise_tree(
    folder: Path, participants: int, files: dict[str, Any], seconds: float, *, found: bool
) -> Simulated:
    """Count what the tree holds."""
    masks = sum(name.startswith(LESIONS) and name.endswith("_mask.nii.gz") for name in files)
    volumes = sum(name.endswith("_T1w.nii.gz") for name in files)
    return Simulated(str(folder), participants, volumes, masks, round(seconds, 2), found)


def write_note(
    folder: Path,
    parameters: dict[str, Any],
    files: dict[str, Any] | None,
    planted: dict[str, Any] | None = None,
) -> None:
    """Write the parameters, and what was written once that is all."""
    note = {"parameters": parameters, "files": None if files is None else dict(sorted(files.items()))}
    note |= {} if planted is None else {"planted": planted}
    write_whole(folder / NOTE, (json.dumps(note, indent=1) + "\n").encode())


VisitJob = tuple[str, Participant, SimulatedVisit, Look]


def run_jobs(jobs: Sequence[VisitJob], workers: int | None) -> Iterator[dict[str, dict[str, Any]]]:
    """Write every volume; give the files of each as it is done, in order."""
    count = min(workers or available_processors(), len(jobs))
    if count <= 1:
        yield from map(write_visit, jobs)
        return
    # Spawned, as everywhere in stage one: a fork of a process that has used threads can hang.
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write_visit, jobs)


def available_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def write_visit(job: VisitJob) -> dict[str, dict[str, Any]]:
    """Scan one participant once and write the volume, and the lesion mask if there are lesions."""
    root, person, visit, look = job
    template = load_template()
    lesions, texture = draw_look(look, person, template)
    scan = acquire(template, visit.anatomy, lesions, visit.protocol, visit.pose, visit.seed, texture)
    session = (visit.session_id,) if visit.session_id else ()
    place = "/".join((person.participant_id, *session, "anat"))
    name = "_".join((person.participant_id, *session))
    files = write_image(Path(root), f"{place}/{name}_T1w.nii.gz", scan.image)
    if scan.lesions is not None:
        mask = f"{LESIONS}/{place}/{name}_label-lesion_mask.nii.gz"
        files |= write_image(Path(root), mask, scan.lesions)
    return files


def write_image(root: Path, name: str, image: nibabel.Nifti1Image) -> dict[str, dict[str, Any]]:
    """Write a compressed NIfTI without a time in it; gives its size and digest by name."""
    data = gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
    write_whole(root / name, data)
    return {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
