"""The tables and descriptions of the tree: BIDS names, tab-separated, no times of today."""

import hashlib
import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from cache_schema.files.disk.whole import write_whole
from extract.simulate.cohort import GROUPS, Effect, Participant

LESIONS = "derivatives/lesions"
"""Folder of the lesion masks, out of stage one's sight."""

WRITTEN_BIDS_VERSION = "1.9.0"

WORDS: dict[Effect, str] = {
    "atrophy": "In patients the lateral ventricles are wider; with age they widen a little in everybody.",
    "lesion": f"Patients have one to four dark lesions; their masks lie in `{LESIONS}`. Controls have none.",
    "none": "Nothing separates patients from controls: a method that finds something has found a mistake.",
}

README = """# A simulated cohort

{participants} participants, {volumes} T1-weighted volumes, seed {seed}. No participant is real: every
volume is the MNI152 template (nonlinear symmetric 2009a, as shipped by nilearn) with a random smooth shape,
head size, pose, contrast, intensity bias and noise, skull-stripped, in one of three sites' voxel sizes,
storage orientations and data types.

{words}

Sites, sexes and repeated sessions are dealt out equally to controls and patients, and ages, protocols and all
else are drawn alike, so that none of these tells them apart. Head size depends on sex.

The template is copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University, which permits use, copying, modification and distribution with this notice.
"""

PARTICIPANT_COLUMNS: dict[str, dict[str, Any]] = {
    "age": {"Description": "Age at the first session", "Units": "years"},
    "sex": {"Description": "Sex; heads of M are larger", "Levels": {"F": "female", "M": "male"}},
    "site": {"Description": "Scanner: decides voxel size, orientation, contrast"},
    "diagnosis": {"Levels": {"control": "without the effect", "patient": "with the effect"}},
}


def write_tables(
    folder: Path,
    cohort: Sequence[Participant],
    effect: Effect,
    seed: int,
    words: str | None = None,
    groups: Sequence[str] = GROUPS,
) -> dict[str, dict[str, Any]]:
    """Write everything that is no image; gives size and digest by name.

    Args:
        folder: The tree.
        cohort: Who is in it.
        effect: What patients have.
        seed: Of everything.
        words: What the README says of it in place of its usual words.
        groups: Diagnoses.
    """
    volumes = sum(len(person.visits) for person in cohort)
    told = words or (WORDS[effect] if groups == GROUPS else graded_words(effect, groups))
    readme = README.format(participants=len(cohort), volumes=volumes, seed=seed, words=told)
    own = {"diagnosis": {"Levels": {name: name for name in groups}}} if groups != GROUPS else {}
    texts = {
        "README.md": readme,
        ".bidsignore": "simulation.json\n",
        "dataset_description.json": described("Simulated cohort", "raw"),
        "participants.tsv": participants_table(cohort),
        "participants.json": as_text(PARTICIPANT_COLUMNS | own),
    }
    for person in cohort:
        if len(person.visits) > 1:
            texts[f"{person.participant_id}/{person.participant_id}_sessions.tsv"] = sessions_table(person)
    if effect == "lesion":
        texts[f"{LESIONS}/dataset_description.json"] = described("Lesion masks", "derivative")
    return dict(write_listed(folder, name, text) for name, text in texts.items())


def graded_words(effect: Effect, groups: Sequence[str]) -> str:
    """What the README says of a cohort with groups of its own."""
    names = ", ".join(groups)
    if effect == "none":
        return f"Nothing separates the groups ({names}): a method that finds something has found a mistake."
    return (
        f"The lateral ventricles are wider from group to group, in equal steps ({names}); with age they "
        "widen a little in everybody."
    )


def described(name: str, kind: str) -> str:
    """A `dataset_description.json`."""
    maker = {"GeneratedBy": [{"Name": "slicecache simulate"}]}
    return as_text({"Name": name, "BIDSVersion": WRITTEN_BIDS_VERSION, "DatasetType": kind, **maker})


def participants_table(cohort: Sequence[Participant]) -> str:
    """`participants.tsv`."""
    rows = [
        f"{person.participant_id}\t{person.age}\t{person.sex}\t{person.site}\t{person.diagnosis}"
        for person in cohort
    ]
    return "\n".join(["participant_id\tage\tsex\tsite\tdiagnosis", *rows]) + "\n"


def sessions_table(person: Participant) -> str:
    """`sub-*_sessions.tsv`; the dates are made up."""
    first = date(2020, 1, 1)
    rows = [
        f"{visit.session_id}\t{(first + timedelta(days=visit.day)).isoformat()}T12:00:00\t{visit.age}"
        for visit in person.visits
    ]
    return "\n".join(["session_id\tacq_time\tage", *rows]) + "\n"


def as_text(value: dict[str, Any]) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2) + "\n"


def write_listed(folder: Path, name: str, text: str) -> tuple[str, dict[str, Any]]:
    """Write one file; its name with size and digest."""
    data = text.encode()
    write_whole(folder / name, data)
    return name, {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
