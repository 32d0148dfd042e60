"""Bundles of heads and of detectors, from whoever made them; the card vouches for the weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from fuzz.target import ARCHIVE, Files, Target, files_of

from aggregate.anomaly.study.bundle import load_detectors
from aggregate.common.run_folder import find_bundle
from aggregate.predict.bundle import load_bundle


def vouched(files: Files) -> Files:
    """The card names the hash of the weights."""
    card = json.loads(files["bundle.json"])
    card["weights_sha256"] = hashlib.sha256(files["members.safetensors"]).hexdigest()
    return files | {"bundle.json": json.dumps(card).encode()}


def seeds(of: str) -> Callable[[], list[Files]]:
    return lambda: [files_of(ARCHIVE / of / "bundle")]


def heads(folder: Path) -> None:
    load_bundle(find_bundle(folder))


def detectors(folder: Path) -> None:
    load_detectors(find_bundle(folder))


FILES = "aggregate.predict.bundle_files"
TARGETS = [
    Target("bundle of heads", seeds("train"), heads, ("aggregate.predict.bundle", FILES), vouched),
    Target(
        "bundle of detectors", seeds("detect"), detectors, ("aggregate.anomaly.study.bundle", FILES), vouched
    ),
]
