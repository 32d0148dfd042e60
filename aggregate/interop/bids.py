"""A BIDS-Derivatives dataset: embeddings of volumes, and of a run its anomaly maps, slice maps and curves.

BIDS has no suffix for any of these, so `.bidsignore` names ours; everything else of a name (entities, their
order and values, folders) is as BIDS has it. No label and no column of a table is in it.
"""

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from aggregate.anomaly.maps.maps import DERIVATIVES_VERSION, map_name
from aggregate.common.artefacts import write_json, write_text
from aggregate.interop.anndata_file import vectors
from aggregate.interop.card import TO_FILL, words
from aggregate.interop.source import SLICE_COLUMNS, Source
from aggregate.paper.finished import read_bytes
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.terminal.progress import Progress
from cache_schema.common.text.cells import plain_cell
from cache_schema.common.text.counts import counted
from cache_schema.format.identity import VolumeKey

EMBEDDING, SLICES, CURVE = "embedding", "slices", "slicecurve"
OURS = (EMBEDDING, SLICES, CURVE, "anomalymap", "slicemap", "loglikelihood")
"""Suffixes that BIDS does not know."""
MAPS = ("detect/maps", "explain/maps")
CURVES = "explain/attention.csv"
MOST_NAME = 250
COLUMNS = {
    "slice_index": "Index along the sliced axis of the volume in RAS+ orientation, counted from 0",
    "height_mm": "Millimetres below the vertex",
    "world_z_mm": "World coordinate of the slice's centre along the normal of the plane, in mm",
}


def write_bids(
    source: Source, folder: Path, tokens: Sequence[str] = (), progress: Progress | None = None
) -> list[str]:
    """Write the dataset.

    Args:
        source: A store, or a run with its store.
        folder: A new folder.
        tokens: Names of arrays; by default those of one vector per slice.
        progress: Called with the volumes written and their number.

    Returns:
        What was left behind.

    Raises:
        SlicecacheError: If two volumes would share a name, or one is too long.
        ConfigError: If a map of the run lies behind a link.
    """
    store, specs = source.store, source.specs(tokens) if tokens else vectors(source, ())
    keys = [entry.key for entry in store.entries]
    _require_names(keys)
    _describe(source, folder, sorted({_folder(key).split("/")[0] for key in keys}))
    for spec in specs:
        told = {
            "Description": f"{words(spec)}; NumPy array ({', '.join(spec.dims[1:])}), rows: _{SLICES}.tsv",
            "Fingerprint": source.said["fingerprint"],
            "Tokens": spec.name,
        }
        write_json(folder / f"desc-{_label(spec.name)}_{EMBEDDING}.json", told)
    write_json(folder / f"{SLICES}.json", {name: {"Description": text} for name, text in COLUMNS.items()})
    for done, (entry, record) in enumerate(zip(store.entries, store.records(), strict=True), start=1):
        for spec in specs:
            path = folder / map_name(entry.key, spec.name, EMBEDDING, ".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, store.read(spec.name, [entry])[0], allow_pickle=False)
        columns = [getattr(record.slices, name.removeprefix("slice_")) for name in SLICE_COLUMNS]
        text = _tsv([SLICE_COLUMNS, *zip(*columns, strict=True)])
        (folder / _plain_name(entry.key, SLICES, ".tsv")).write_text(text, encoding="utf-8")
        if progress is not None:
            progress(done, len(keys))
    return (
        []
        if source.run is None
        else [*_copy_maps(source.run, folder, keys), *_curves(source.run, folder, keys)]
    )


def _describe(source: Source, folder: Path, people: Sequence[str]) -> None:
    """What stands at the top of the dataset."""
    folder.mkdir()
    made = {"Name": "slicecache", "Version": version("slicecache"), "Description": "Frozen slice embeddings"}
    description = {
        "Name": f"Slice embeddings of {counted(len(source.store.entries), 'volume')}",
        "BIDSVersion": DERIVATIVES_VERSION,
        "DatasetType": "derivative",
        "License": TO_FILL,
        "Authors": [TO_FILL],
        "GeneratedBy": [made],
        "SourceDatasets": [{"Version": f"slicecache content digest {source.said['content_digest']}"}],
    }
    write_json(folder / "dataset_description.json", description)
    write_text(folder / ".bidsignore", "".join(f"*{name}.*\n" for name in OURS))
    write_text(folder / "participants.tsv", _tsv([["participant_id"], *([name] for name in people)]))
    said = "\n".join(f"- {name}: {text}" for name, text in source.said.items())
    write_text(
        folder / "README.md",
        f"# {description['Name']}\n\nMade by slicecache: every kept slice of a volume as what a frozen image "
        "backbone made of it; of a run also its maps and curves, each in its volume's own space. No images, "
        "no labels. It is no medical device, and nobody in it may be sought out. Licence, authors, consent "
        f"and terms: {TO_FILL}\n\nFiles with suffixes that BIDS does not know are named in .bidsignore: "
        f"{', '.join(OURS)}.\n\n{said}\n",
    )


def _copy_maps(run: Path, folder: Path, keys: Sequence[VolumeKey]) -> list[str]:
    """Take the maps of a run along, of volumes that the store still has."""
    stems = {_folder(key) + "/" + _stem(key) for key in keys}
    left = 0
    for place in (run / name for name in MAPS):
        for path in _files(place):
            name = path.relative_to(place).as_posix()
            if name.startswith("desc-") and path.suffix == ".json":
                write_json(folder / name, json.loads(read_bytes(path)))
            elif path.name.endswith(".nii.gz"):
                if name.partition("_desc-")[0] in stems:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, folder / name)
                else:
                    left += 1
    return (
        [f"{left} maps of the run are of volumes that the store does not have; they stay behind"]
        if left
        else []
    )


def _files(place: Path) -> Iterator[Path]:
    """Files of a folder of maps.

    Raises:
        ConfigError: If one lies behind a link.
    """
    root = place.resolve()
    for path in sorted(place.rglob("*")):
        if path.is_symlink() or not path.resolve().is_relative_to(root):
            raise ConfigError(f"{str(path)!r} is a link: a run folder holds files of its own")
        if path.is_file() and not path.relative_to(place).parts[0].startswith("."):
            yield path


def _curves(run: Path, folder: Path, keys: Sequence[VolumeKey]) -> list[str]:
    """Evidence of slices by volume, without its label."""
    path = run / CURVES
    if not path.is_file():
        return []
    known, rows = set(keys), csv.DictReader(io.StringIO(read_bytes(path).decode(), newline=""))
    shown = [name for name in rows.fieldnames or () if name not in (*VolumeKey.__slots__, "label")]
    found: dict[VolumeKey, list[list[str]]] = {}
    for row in rows:
        key = VolumeKey(*(plain_cell(row[name]) for name in VolumeKey.__slots__))
        found.setdefault(key, []).append([row[name] for name in shown])
    for key, own in found.items():
        if key in known:
            text = _tsv([shown, *own])
            (folder / map_name(key, "explain", CURVE, ".tsv")).write_text(text, encoding="utf-8")
    methods = json.loads(read_bytes(run / "explain" / "metrics.json")).get("methods", {})
    told: dict[str, Any] = {
        name: {"Description": COLUMNS.get(name, "see slicecache explain")} for name in shown
    }
    for name, one in methods.items():
        if name in told:
            told[name] = {"Description": f"Evidence by {one.get('words')}", "Verdict": one.get("verdict")}
    write_json(folder / f"desc-explain_{CURVE}.json", told)
    gone = len(found.keys() - known)
    return [f"curves of {gone} volumes that the store does not have stay behind"] if gone else []


def _require_names(keys: Sequence[VolumeKey]) -> None:
    """Every volume has a name of its own that a disk can hold.

    Raises:
        SlicecacheError: If not.
    """
    seen: dict[str, VolumeKey] = {}
    for key in keys:
        name = _stem(key)
        other = seen.setdefault(name.lower(), key)
        if other != key:
            raise SlicecacheError(
                f"volumes {other} and {key} would both be {name} in BIDS; export with pseudonyms"
            )
        if len(name) > MOST_NAME - 70:
            raise SlicecacheError(f"volume {key} would be {name!a:.60}..., {len(name)} letters long")


def _label(text: str) -> str:
    return text.replace("_", "")


def _folder(key: VolumeKey) -> str:
    return map_name(key, "x").rpartition("/")[0]


def _stem(key: VolumeKey) -> str:
    """A volume's name without `desc` and suffix."""
    return map_name(key, "x").rpartition("/")[2].partition("_desc-")[0]


def _plain_name(key: VolumeKey, suffix: str, ending: str) -> str:
    return f"{_folder(key)}/{_stem(key)}_{suffix}{ending}"


def _tsv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    return text.getvalue()
