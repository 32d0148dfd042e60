"""Whose folder is whose in a run folder: each verb has one of its own, `index.html` lies beside them.

A run folder of before had the files of its only verb directly in it; it is still read.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cache_schema.common.custom import permit
from cache_schema.common.errors import ConfigError
from cache_schema.common.stored_json import read_json

VERBS = ("train", "evaluate", "explain", "ablate", "detect")
"""That leave a folder in the run folder, in the order of a study."""
BUNDLING = ("train", "detect")
"""Of these, the ones that keep what they fitted; an ablation keeps no weights."""
METRICS_FILE = "metrics.json"
"""Written last: where it lies, the verb came to its end."""
CONFIG = "config.yaml"
REPORT = "report.html"
KEPT = "report.json"
"""What the report shows, so that it can be made again without the store."""
LOCK = "requirements.lock"
FIGURES = "figures"
CAPTIONS = "captions.md"
"""In the folder of figures."""
TABLES = "tables"
METHODS = "methods.md"
REFERENCES = "references.bib"
CHECKLIST = "checklist.html"
PARTICIPANTS = "participants"
"""In a verb's folder: a page for each of the most telling participants, and their list."""
INDEX = "index.html"
FAILED = "failures.tsv"
"""Volumes that could not be embedded, and why; only a head where all could."""
EPOCH = "epoch.json"
"""What one fold took with the backbone in the loop, and from the store (`run --time-epoch`)."""
NULL = "null"
"""A run folder in a run folder: the same commands where nothing is to be found."""
BUNDLE = "bundle"
PAIRS = "pairs"
"""In a verb's folder: one like it for each two classes that were set against each other."""
CARD = "bundle.json"


def verb_folder(run_folder: Path, verb: str) -> Path:
    """Where a verb leaves all it makes; no other verb writes there."""
    return run_folder / verb


def find_bundle(folder: Path, bundling: Sequence[str] = BUNDLING) -> Path:
    """The one bundle in a run folder, a verb's folder, or a bundle's own folder.

    Args:
        folder: Where to look.
        bundling: Verbs whose folders are looked into.

    Raises:
        ConfigError: If there is none, or more than one to choose from.
    """
    if not os.path.isdir(folder):
        verbs = " or ".join(f"{verb}/" for verb in bundling)
        raise ConfigError(f"there is no folder {str(folder)!r}; give a run folder, {verbs} in it")
    found = sorted(set(_bundles(folder, bundling)))
    if not found:
        raise ConfigError(
            f"{str(folder)!r} holds no bundle: there is no {CARD} in it, in {BUNDLE}/, or in "
            f"{' or '.join(f'{verb}/{BUNDLE}/' for verb in bundling)}; give the run folder of a finished "
            f"{' or '.join(bundling)} (one with harmonise writes none)"
        )
    if len(found) > 1:
        raise ConfigError(
            f"{str(folder)!r} holds {len(found)} bundles, {' and '.join(map(str, found))}: give one of these "
            "in place of it"
        )
    return found[0]


def run_folder_of(bundle: Path) -> Path | None:
    """The run folder that a bundle lies in, if it lies where `train` leaves it."""
    verb = bundle.parent if pair_of(bundle) is None else bundle.parent.parent.parent
    return verb.parent if bundle.name == BUNDLE and verb.name == "train" else None


def pair_of(bundle: Path) -> str | None:
    """The contrast that a bundle is of, if it lies where `train` leaves a contrast's."""
    return bundle.parent.name if bundle.name == BUNDLE and bundle.parent.parent.name == PAIRS else None


def place_of_pair(folder: Path, pair: str | None) -> Path:
    """A verb's folder, or the one in it of a contrast."""
    return folder if pair is None else folder / PAIRS / pair


def _bundles(folder: Path, bundling: Sequence[str]) -> Iterator[Path]:
    """Every folder with a card; a detection over several stores has one bundle for each."""
    own = [folder / BUNDLE, *(verb_folder(folder, verb) / BUNDLE for verb in bundling)]
    places = [folder, *own]
    if folder.name == PAIRS:
        places += [place / BUNDLE for place in sorted(folder.iterdir())]
    for place in [folder, *own] if folder.name == BUNDLE else own:
        places += sorted(card.parent for card in place.glob(f"*/{CARD}"))
    yield from (place for place in places if (place / CARD).is_file())


def permit_bundle(folder: Path, code: Path | None = None) -> None:
    """Let the custom parts that a bundle names be imported, also from a folder, by default the current one.

    That folder comes last on the path, so that nothing in it stands in for an installed module.
    """
    try:
        data = (folder / CARD).read_bytes()
        card = read_json(data, len(data))
    except (OSError, ValueError):
        return  # whoever loads the bundle says what is wrong with it
    targets = set(_targets(card))
    for target in targets:
        permit(target)
    if targets and (place := str(code or Path.cwd())) not in sys.path:
        sys.path.append(place)


def _targets(value: Any) -> Iterator[str]:
    """The targets of everything in a card that says that it is custom."""
    if isinstance(value, dict):
        if value.get("kind") == "custom" and isinstance(value.get("target"), str):
            yield value["target"]
        for inner in value.values():
            yield from _targets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _targets(inner)
