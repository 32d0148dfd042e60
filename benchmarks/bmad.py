"""The published BMAD protocol, for whoever has the data: 2D slices in, pixel metrics out, the papers' beside.

    python benchmarks/bmad.py BraTS2021_slice --backbone '{kind: dinov2, size: small}' \
        --detectors '[{kind: memory_bank, bank: all}, {kind: dpmm}]' --seeds 0 1 2 3 4 --json out.json

The layout of the folder is in `bmad_slices.py`. Detectors are fitted on `train/good`, thresholds (and the
epoch, where a detector chooses one) come from `valid/good`, everything is measured on `test`: at 240 px,
which the published numbers are at, and at each slice's own size. `memory_bank` and `patchcore` maps are
smoothed with sigma 4 px at 240. No number of this script stands in this repository: BMAD is not free to
ship, and the tests run on a generated tree of the same layout.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from bmad_slices import Item, Slices, embed, on_two_sides, read_grey, read_tree
from bmad_table import PUBLISHED, finite, table
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from aggregate.anomaly.detectors.base import Detector, Reference
from aggregate.anomaly.maps.placement import Placement, axis_weights
from aggregate.anomaly.measure.histogram import Bins, VoxelTally, empty_tally, score_bins
from aggregate.anomaly.measure.intervals import DRAWS, auroc_interval, participant_intervals
from aggregate.anomaly.measure.metrics import fpr_thresholds, pixel_metrics
from aggregate.anomaly.measure.regions import Region, ground_of
from aggregate.anomaly.measure.tally import tally_volume
from extract.backbones.backbone import Backbone
from extract.backbones.registry import BackboneSpec

SIDE = 240
SMOOTHED = {"memory_bank": 4.0, "patchcore": 4.0}
"""Standard deviation in pixels at 240, by kind."""

FPR = {"fpr10": 0.10, "fpr05": 0.05, "fpr01": 0.01}
COARSE = 16
REGIONS: tuple[Region, ...] = ("all", "foreground")


@dataclass(frozen=True, slots=True)
class Named:
    """A detector to try."""

    name: str
    make: Callable[[int], Detector]
    smooth_pixels: float = 0.0


@dataclass(frozen=True, slots=True)
class Scored:
    """A fitted detector's scores of some slices."""

    maps: NDArray[np.float32]
    """`(slice, row, col)`."""
    slices: NDArray[np.float32]
    seconds: float


def fit(detector: Detector, train: Slices, held_out: Slices, seed: int) -> float:
    """Fit a detector on slices shuffled anew for every epoch; gives the seconds."""
    started = time.perf_counter()
    dim, grid = train.patches.shape[-1], train.patches.shape[1:3]
    detector.start(Reference(dim, (grid[0], grid[1]), len(train.items), len(np.unique(train.volume))))
    for epoch in range(detector.epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(train.items))
        for index in _parts(order, detector.batch_slices):
            detector.observe(train.batch(np.sort(index)), epoch)
        if detector.end_epoch(epoch, _held_out_loss(detector, held_out)):
            break
    return time.perf_counter() - started


def _held_out_loss(detector: Detector, held_out: Slices) -> float | None:
    """Mean loss of held-out normals; None where the detector gives none."""
    found = []
    for index in _parts(np.arange(len(held_out.items)), detector.batch_slices):
        loss = detector.held_out_loss(held_out.batch(index))
        if loss is None:
            return None
        found.append(loss)
    return float(torch.cat(found).double().mean())


def score(detector: Detector, slices: Slices) -> Scored:
    """Score every slice; slice scores look at all tokens, as published."""
    started = time.perf_counter()
    maps, whole = [], []
    for index in _parts(np.arange(len(slices.items)), detector.batch_slices):
        batch = slices.batch(index)
        found = detector.score(batch)
        maps.append(found.numpy())
        whole.append(detector.slice_scores(found, torch.ones_like(found)).numpy())
    return Scored(np.concatenate(maps), np.concatenate(whole), time.perf_counter() - started)


def _parts(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def count(
    slices: Slices,
    maps: NDArray[np.float32],
    side: int | None,
    smooth_pixels: float,
    bins: Bins,
    thresholds: Sequence[float] = (),
) -> dict[str, dict[Region, VoxelTally]]:
    """Tally every slice at one size, by participant.

    Args:
        slices: The slices.
        maps: `(slice, row, col)`: their scores.
        side: Pixels that maps and labels are brought to; None for each slice's own size.
        smooth_pixels: Of the Gaussian at 240.
        bins: Of the detector's scores.
        thresholds: At which called pixels are counted.
    """
    tallies: dict[str, dict[Region, VoxelTally]] = {}
    grid = (maps.shape[1], maps.shape[2])
    for number, item in enumerate(slices.items):
        lesion = read_label(item, side)
        place = one_slice(lesion.shape, grid, smooth_pixels)
        plain = one_slice(lesion.shape, grid, 0.0)
        ground = ground_of(lesion.T[..., None], plain, slices.foreground[number][None], "slice")
        own = tallies.setdefault(
            item.participant, {region: empty_tally(bins, len(thresholds)) for region in REGIONS}
        )
        for region, tally in tally_volume(maps[number][None], place, ground, bins, thresholds).items():
            own[region] = own[region] + tally
    return tallies


def one_slice(shape: tuple[int, ...], grid: tuple[int, int], smooth_pixels: float) -> Placement:
    """A single slice as a volume `(column, row, 1)`, with a canvas of 240 pixels over it."""
    sides = [
        axis_weights(length / SIDE, (length / SIDE - 1) / 2, length, SIDE, patches, smooth_pixels)
        for length, patches in zip(shape, grid, strict=True)
    ]
    return Placement((shape[1], shape[0], 1), (2, 1, 0), sides[0], sides[1], np.zeros(1, dtype=np.int64))


def read_label(item: Item, side: int | None) -> NDArray[np.bool_]:
    """Lesion pixels `(row, column)`, brought to a square by nearest neighbour where a side is given."""
    grey = read_grey(item.label or item.image)
    if item.label is None:
        grey = np.zeros_like(grey)
    if side is not None:
        grey = np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.NEAREST))
    return grey > 0


def evaluate(
    test: Slices, held_out: Slices, scored: Scored, normal: Scored, smooth: float, draws: int
) -> dict[str, Any]:
    """All metrics of one fitted detector, at 240 px and at the slices' own size."""
    bins = score_bins(np.concatenate([scored.maps, normal.maps]))
    sick = np.array([item.label is not None for item in test.items])
    names = [item.participant for item in test.items]
    out: dict[str, Any] = {"slice_auroc": auroc_interval(sick, scored.slices, names, draws)}
    for name, side in (("at_240", SIDE), ("native", None)):
        normals = count(held_out, normal.maps, side, smooth, bins)
        held = sum((t["all"] for t in normals.values()), empty_tally(bins, 0))
        thresholds = fpr_thresholds(held, bins, FPR)
        tallies = count(test, scored.maps, side, smooth, bins, list(thresholds.values()))
        for region in REGIONS:
            own = [tally[region] for tally in tallies.values()]
            whole = sum(own, empty_tally(bins, len(thresholds)))
            found = pixel_metrics(whole, bins, list(thresholds))
            intervals = participant_intervals(
                [tally.coarse(COARSE) for tally in own], list(thresholds), draws
            )
            out[f"{name}_{region}"] = {"metrics": found, "intervals": intervals}
    return out


def run(
    root: Path,
    backbone: Backbone,
    pixels: int,
    detectors: Sequence[Named],
    seeds: Sequence[int],
    work: Path,
    draws: int = DRAWS,
) -> list[dict[str, Any]]:
    """The protocol: one row per detector and seed."""
    device = torch.device("cpu") if not torch.cuda.is_available() else torch.device("cuda")
    parts, embedded = {}, time.perf_counter()
    for name, items in read_tree(root).items():
        parts[name] = embed(items, backbone, pixels, device, work / f"{name}.npy")
    n = sum(len(part.items) for part in parts.values())
    embed_ms = 1000 * (time.perf_counter() - embedded) / n
    rows = []
    for named in detectors:
        for seed in seeds:
            detector = named.make(seed)
            seconds = fit(detector, parts["train"], parts["valid_good"], seed)
            normal, scored = score(detector, parts["valid_good"]), score(detector, parts["test"])
            row = {"detector": named.name, "seed": seed, "fit_seconds": seconds, "embed_ms": embed_ms}
            row["score_ms"] = 1000 * scored.seconds / len(scored.maps)
            row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            row |= evaluate(parts["test"], parts["valid_good"], scored, normal, named.smooth_pixels, draws)
            rows.append(row)
    return rows


def from_registry(text: str) -> list[Named]:
    """Detectors from YAML such as `[{kind: memory_bank}]`."""
    from aggregate.anomaly.detectors.registry import NewDetector

    registry: TypeAdapter[Any] = TypeAdapter(NewDetector)
    specs = [registry.validate_python(entry) for entry in yaml.safe_load(text)]
    return [Named(spec.kind, spec.build, SMOOTHED.get(spec.kind, 0.0)) for spec in specs]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default="{kind: dinov2, size: small}")
    parser.add_argument("--detectors", default="[{kind: memory_bank}]")
    parser.add_argument("--pixels", type=int, default=448)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    backbones: TypeAdapter[Any] = TypeAdapter(BackboneSpec)
    spec = backbones.validate_python(yaml.safe_load(given.backbone))
    device = torch.device("cpu") if not torch.cuda.is_available() else torch.device("cuda")
    backbone = spec.build(given.pixels, device, torch.float32)
    with tempfile.TemporaryDirectory() as work:
        detectors = from_registry(given.detectors)
        rows = run(given.folder, backbone, given.pixels, detectors, given.seeds, Path(work))
    found = {"rows": rows, "published": PUBLISHED, "on_two_sides": on_two_sides(read_tree(given.folder))}
    print(table(rows))
    if found["on_two_sides"]:
        print(f"{len(found['on_two_sides'])} participants have slices in train and in test", file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(finite(found), indent=1))


if __name__ == "__main__":
    main()
