"""Which copies of one image under another name are found before a training, and how often none is one.

    python benchmarks/copies.py --bids ../shared/data/ds002748-2mm --folder /tmp/copies

Volumes of a BIDS tree are saved again in several ways and embedded beside the originals by an untrained
ViT; then one copy at a time joins the originals. False alarms: the originals alone, and cohorts drawn with
few directions, many, heavy tails, three sites, a site of two, and groups.
"""

import argparse
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml
from nibabel.processing import resample_to_output
from scipy import ndimage

from aggregate.bags.bags import read_bags
from aggregate.baselines.baselines import mean_pool
from aggregate.common.arrays import Floats
from aggregate.shortcuts.copies import find_copies, same_image
from cache_schema.store.reader import StoreReader, open_store

Image = Any
COHORTS, DIM = 400, 192
PEOPLE = 4
"""Whose image is copied."""


def values(image: Image) -> Floats:
    """Voxels as they are meant."""
    return np.asarray(image.dataobj, dtype=np.float64)


def saved(x: Floats, affine: Floats, dtype: Any = np.float32) -> Image:
    """A volume of other numbers."""
    return nibabel.Nifti1Image(x.astype(dtype), affine)


def padded(image: Image) -> Image:
    """The brain a voxel further, in a larger box."""
    x = values(image)
    wide = np.zeros([n + 2 for n in x.shape])
    wide[1:-1, 2:, :-2] = x
    return saved(wide, image.affine)


def shifted(image: Image, voxels: float, edge: bool = False) -> Image:
    """Resliced (linear) onto a grid that lies a little aside; `edge` keeps the brain's own."""
    x = values(image)
    found = np.maximum(ndimage.shift(x, [voxels] * 3, order=1), 0)
    inside = ndimage.shift((x > 0).astype(np.float64), [voxels] * 3, order=1) >= 0.5
    return saved(np.where(inside, found, 0) if edge else found, image.affine)


def noisy(image: Image, share: float) -> Image:
    """With noise of a share of the bright voxels."""
    x = values(image)
    noise = share * np.percentile(x[x > 0], 95) * np.random.default_rng(0).normal(size=x.shape)
    return saved(np.where(x > 0, np.maximum(x + noise, 1e-3), 0), image.affine)


def resampled(image: Image, mm: float) -> Image:
    """On another grid (linear)."""
    found = resample_to_output(image, (mm, mm, mm), order=1)
    return saved(np.maximum(values(found), 0), found.affine)


COPIES: dict[str, Callable[[Image], Image]] = {
    "compressed anew": lambda image: image,
    "saved as float32": lambda image: saved(values(image), image.affine),
    "times 3.7": lambda image: saved(3.7 * values(image), image.affine),
    "int16, 0 to 1000": lambda i: saved(np.round(values(i) / values(i).max() * 1000), i.affine, np.int16),
    "uint8, 0 to 100": lambda i: saved(np.round(values(i) / values(i).max() * 100), i.affine, np.uint8),
    "a voxel further, larger box": padded,
    "noise of 1 %": lambda image: noisy(image, 0.01),
    "noise of 3 %": lambda image: noisy(image, 0.03),
    "resliced by 0.05 voxels": lambda image: shifted(image, 0.05),
    "resliced by 0.05 voxels, stripped anew": lambda image: shifted(image, 0.05, edge=True),
    "resliced by 0.2 voxels, stripped anew": lambda image: shifted(image, 0.2, edge=True),
    "resliced by half a voxel, stripped anew": lambda image: shifted(image, 0.5, edge=True),
    "resampled to 2.2 mm": lambda image: resampled(image, 2.2),
}


def write(source: Path, out: Path) -> list[str]:
    """Originals and copies as one BIDS tree; the originals' names."""
    images = sorted(source.glob("sub-*/anat/*_T1w.nii.gz"))
    names = [image.parts[-3] for image in images]
    for name, path in zip(names, images, strict=True):
        place(out, name).write_bytes(path.read_bytes())
    for kind, copy in enumerate(COPIES):
        for person in range(PEOPLE):
            target, path = place(out, f"sub-copy{kind:02d}x{person}"), images[person * 3 % len(images)]
            if kind == 0:
                target.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
            else:
                nibabel.save(COPIES[copy](nibabel.load(path)), target)
    (out / "dataset_description.json").write_text(json.dumps({"Name": "copies", "BIDSVersion": "1.8.0"}))
    return names


def place(out: Path, name: str) -> Path:
    """Where a participant's volume goes."""
    path = out / name / "anat" / f"{name}_T1w.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def embed(folder: Path) -> StoreReader:
    """Originals and copies in one store."""
    extract = {
        "input": {"bids": "bids", "suffix": "T1w"},
        "slices": {"kind": "every", "step_mm": 4},
        "backbone": {"kind": "untrained", "size": "tiny", "seed": 0},
        "tokens": ["cls", "patch_mean"],
    }
    pipeline = {"run": {"folder": "run"}, "cache": {"store": "copies.zarr"}, "extract": extract}
    (folder / "copies.yaml").write_text(yaml.safe_dump(pipeline))
    subprocess.run([sys.executable, "-m", "slicecache", "extract", "copies.yaml"], cwd=folder, check=True)
    return open_store(str(folder / "copies.zarr"))


def found_copies(store: StoreReader, tokens: str, originals: set[str]) -> list[str]:
    """Rows of Markdown: found, how many times nearer, equal intensities."""
    x = mean_pool(read_bags(store, store.entries, tokens))
    names = [f"sub-{entry.key.participant_id.removeprefix('sub-')}" for entry in store.entries]
    known = {name: row for row, name in enumerate(names)}
    own = [known[name] for name in sorted(originals)]
    quantiles = [tuple(v for _, v in sorted(r.intensity_quantiles.items())) for r in store.records()]
    alone = find_copies(x[own], [names[row] for row in own])
    rows = [f"| {tokens} | the {len(own)} originals alone | {len(alone)} pairs | | |"]
    for kind, copy in enumerate(COPIES):
        hits, nearer, equal = 0, [], 0
        for person in range(PEOPLE):
            copied, source = known[f"sub-copy{kind:02d}x{person}"], own[person * 3 % len(own)]
            at = [*own, copied]
            pairs = find_copies(x[at], [names[row] for row in at])
            hit = [pair for pair in pairs if {at[pair[0]], at[pair[1]]} == {copied, source}]
            hits += bool(hit)
            nearer += [pair[2] or np.inf for pair in hit]
            equal += bool(hit) and same_image([quantiles[row] for row in at], *hit[0][:2])
        times = f"{np.median(nearer):.0f}" if nearer else ""
        rows.append(f"| {tokens} | {copy} | {hits} / {PEOPLE} | {times} | {equal} / {PEOPLE} |")
    return rows


def drawn(kind: str, n: int, stream: np.random.Generator) -> Floats:
    """Vectors of a made-up cohort without copies (participant, DIM)."""
    turn = np.linalg.qr(stream.normal(size=(DIM, DIM)))[0]
    spread = np.exp(-np.arange(DIM) / {"few directions": 3, "many directions": 40}.get(kind, 8))
    own = stream.standard_t(4, size=(n, DIM)) if kind == "heavy tails" else stream.normal(size=(n, DIM))
    x = own * spread @ turn
    groups = {"three sites": stream.integers(0, 3, n), "a site of two": (np.arange(n) < 2).astype(int)}
    groups["groups of six"] = np.arange(n) // 6
    if kind not in groups:
        return x
    centres = stream.normal(size=(n, DIM)) * (spread if kind == "groups of six" else 0.6)
    return (0.5 if kind == "groups of six" else 1.0) * x + centres[groups[kind]] @ turn


def false_alarms() -> list[str]:
    """Rows of Markdown: share of cohorts without copies in which any pair is named."""
    kinds = ("few directions", "some directions", "many directions", "heavy tails", "three sites")
    rows = []
    for kind in (*kinds, "a site of two", "groups of six"):
        cells = []
        for n in (24, 60, 200):
            people = [str(index) for index in range(n)]
            named = [
                bool(find_copies(drawn(kind, n, np.random.default_rng([seed, n])), people))
                for seed in range(COHORTS if n < 200 else COHORTS // 2)
            ]
            cells.append(f"{np.mean(named):.3f}")
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bids", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="New; holds tree and store.")
    given = parser.parse_args()
    originals = set(write(given.bids, given.folder / "bids"))
    store = embed(given.folder)
    for tokens in ("cls", "patch_mean"):
        print("\n".join(found_copies(store, tokens, originals)), flush=True)
    print("\n".join(false_alarms()), flush=True)


if __name__ == "__main__":
    main()
