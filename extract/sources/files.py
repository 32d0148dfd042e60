"""Some image files as input, each named by itself: `{files: [scan.nii.gz, ...]}`."""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from cache_schema.common.errors import ConfigError
from cache_schema.common.short_forms import ONE, reads
from cache_schema.common.strict import Strict
from cache_schema.format.identity import VolumeKey
from extract.sources.candidate import Candidate, bids_parts, contrast_of, entities_of, source_name
from extract.sources.cells import located_file, name_of, split_dataset


@reads(ONE)
def _as_list(value: object) -> object:
    """One file is a list of one."""
    return (value,) if isinstance(value, str | Path) else value


class FilesInput(Strict):
    """`{files: [a.nii.gz, b.nii.gz]}`; a dataset inside an HDF5 file is `scans.h5:/t1`."""

    files: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
    """Images, each named by itself, e.g. `[scan-1.nii.gz, scan-2.nii.gz]`."""


def find_files(spec: FilesInput, base: Path) -> tuple[list[Candidate], list[str]]:
    """A volume per file, sorted by key.

    Args:
        spec: The files.
        base: Folder that relative paths start from.

    Raises:
        ConfigError: If a file is named twice.
    """
    places = [(text, *_place(text, base)) for text in spec.files]
    repeated = Counter((path, dataset) for _, path, dataset in places).most_common(1)[0]
    if repeated[1] > 1:
        raise ConfigError(f"the image {str(repeated[0][0])!r} is named {repeated[1]} times")
    found = [candidate_of_file(text, path, dataset) for text, path, dataset in places]
    return sorted(found, key=lambda each: (each.key, each.source)), []


def _place(text: str, base: Path) -> tuple[Path, str]:
    """A file, and the dataset inside it."""
    file, dataset = split_dataset(text)
    return located_file(file, base), dataset


def candidate_of_file(given: str, path: Path, dataset: str) -> Candidate:
    """A file by its own name: whose it is where that is a BIDS name, else the name is the participant's."""
    name = name_of(path, dataset)
    parts, suffix = bids_parts(name) if name.startswith("sub-") else ({}, "")
    if suffix and parts["sub"]:
        rest = [f"{label}-{value}" for label, value in parts.items() if label not in ("sub", "ses")]
        session = f"ses-{parts['ses']}" if parts.get("ses") else ""
        key = VolumeKey(f"sub-{parts['sub']}", session, "_".join([*rest, suffix]))
    else:
        key = VolumeKey(name, "", name)
    return Candidate(
        key=key,
        path=path,
        source=source_name(path, path.parent) + (f":{dataset}" if dataset else ""),
        entities=entities_of(parts, suffix or contrast_of(name)),
        dataset=dataset,
        given=os.fspath(given),
    )
