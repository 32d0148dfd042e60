"""The volumes of an input, of whichever kind it is."""

import os
from collections.abc import Sequence
from pathlib import Path

from extract.sources.bids import BidsInput, find_bids
from extract.sources.candidate import Candidate
from extract.sources.files import FilesInput, find_files
from extract.sources.manifest import ManifestInput, find_manifest

VolumeInput = BidsInput | ManifestInput | FilesInput
"""Told apart by its own key: `bids`, `manifest` or `files`."""
KINDS = ("bids", "manifest", "files")


def find_volumes(spec: VolumeInput, base: Path) -> tuple[list[Candidate], list[str]]:
    """Candidates of an input, and notes on what it holds beside them.

    Raises:
        ConfigError: If the input cannot be understood.
    """
    if isinstance(spec, BidsInput):
        return find_bids(spec, base)
    if isinstance(spec, FilesInput):
        return find_files(spec, base)
    return find_manifest(spec, base)


def places_of_input(spec: VolumeInput, base: Path) -> Sequence[Path]:
    """What a person wrote: the folder, the table or the files."""
    given: Sequence[str | Path]
    if isinstance(spec, BidsInput):
        given = (spec.bids,)
    else:
        given = spec.files if isinstance(spec, FilesInput) else (spec.manifest,)
    return [Path(os.path.normpath(base / os.path.expanduser(each))) for each in given]
