"""How far the presets of published systems lie from their inputs, and what a slice of each costs.

    python benchmarks/presets.py --data ../shared/data

Each preset is held to its steps written out on nibabel, Pillow and torch (`tests/published_inputs.py`), over
real volumes and odd shapes; differences are in grey levels of 8 bits, or in z-scores where the system feeds
those. Then the seconds of `prepare_voxels` on a volume in memory, and of what the device does after it, on
one core.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch start their threads
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import nibabel
import numpy as np
import published_inputs as published
import torch

from cache_schema.common.errors import VolumeError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.engines.on_device import canvas_images
from extract.slices.intensity import Window, Zscore
from extract.slices.prepare import PreparedVolume, prepare_volume, prepare_voxels
from extract.slices.preprocessing import Preprocessing, StepOverrides
from extract.slices.presets import PRESETS, preprocessing_of
from extract.sources.candidate import Candidate
from extract.volume.read import read_volume

CPU = torch.device("cpu")
REPEATS = 3
ODD = {"61 x 83 x 47": (61, 83, 47), "9 x 15 x 7": (9, 15, 7), "200 x 231 x 1": (200, 231, 1)}
REAL = {
    "sub-01, 288 x 288 x 181": "ds002748-native/sub-01/anat/sub-01_T1w.nii.gz",
    "IXI012 with skull, 2 mm": "ixi-2mm/IXI012-HH-1211-T1_ds.nii.gz",
    "T2w, 26 slices": "single/torchio_fernando_t2.nii.gz",
}
CT = Window(low=-1000, high=1000, to=(-1, 1))


def candidate(path: Path) -> Candidate:
    """A file on its own."""
    return Candidate(VolumeKey("p", "", "v"), path, path.name, Entities())


def save_ball(path: Path, shape: tuple[int, int, int]) -> None:
    """A noisy ball in air, its third axis down."""
    grids = np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij")
    noise = np.random.default_rng(0)
    inside = sum(grid**2 for grid in grids) < 0.7
    values = np.where(inside, noise.uniform(300, 900, shape), noise.uniform(-5, 30, shape))
    size = 240 / max(shape[:2])
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.diag([size, size, -5, 1])), path)


def eight_bits(prepared: PreparedVolume, stack: np.ndarray) -> np.ndarray:
    """What a detector's loader reads of the kept slices."""
    levels = prepared.draft.intensity_quantiles
    return published.eight_bits(stack, levels["q0.5"], levels["q99.5"])[list(prepared.draft.slices.index)]


def steps_of(stack: np.ndarray) -> dict[str, tuple[Preprocessing, Callable[[PreparedVolume], np.ndarray]]]:
    """By preset: its steps for slices of this ratio, and its steps written out."""
    rows, columns = stack.shape[1:]
    sides = [int(448 * side / min(rows, columns)) for side in (rows, columns)]
    canvas = {"kind": "shorter", "pixels": [side - side % 14 for side in sides]}
    shorter = StepOverrides.model_validate({"canvas": canvas})
    breast = StepOverrides(intensity=Zscore(over="canvas", above=0))
    return {
        "mst": (PRESETS["mst"], lambda _: published.mst_mri(stack)),
        "mst, above 0": (preprocessing_of("mst", breast), lambda _: published.mst_mri(stack, above=0)),
        "mst, CT": (preprocessing_of("mst", StepOverrides(intensity=CT)), lambda _: published.mst_ct(stack)),
        "anomalydino, dpmm": (
            preprocessing_of("dpmm", shorter),
            lambda prepared: published.shorter_edge(eight_bits(prepared, stack)),
        ),
        "ar": (PRESETS["ar"], lambda prepared: published.stretched(eight_bits(prepared, stack))),
    }


def differences(paths: dict[str, Path]) -> list[dict[str, Any]]:
    """A row per volume and preset."""
    found = []
    for name, path in paths.items():
        stack = published.house_stack(path)
        for preset, (steps, written_out) in steps_of(stack).items():
            row: dict[str, Any] = {"volume": name, "preset": preset}
            try:
                prepared = prepare_volume(candidate(path), steps)
                apart = np.abs(prepared.images.astype(np.float64) - written_out(prepared))
                row |= {
                    "canvas": prepared.images.shape,
                    "largest": apart.max(),
                    "differing": (apart > 0).mean(),
                }
            except VolumeError as error:
                row["refused"] = str(error)
            found.append(row)
            print(json.dumps(row, default=str), flush=True)
    return found


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds, the median of some."""
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def speeds(path: Path) -> list[dict[str, Any]]:
    """Slices per second and core of every preset, on a volume in memory."""
    torch.set_num_threads(1)
    own = candidate(path)
    found = []
    for name, steps in PRESETS.items():
        volume = read_volume(own, dtype=steps.read_dtype)
        prepared = prepare_voxels(own, volume, None, steps)
        slices = len(prepared.draft.slices.index)
        before = seconds(lambda volume=volume, steps=steps: prepare_voxels(own, volume, None, steps))
        after = seconds(lambda prepared=prepared: canvas_images(prepared, CPU))
        row = {
            "preset": name,
            "canvas": steps.pixels,
            "slices": slices,
            "prepare_s": round(before, 3),
            "device_s": round(after, 3),
            "slices_per_s": round(slices / (before + after), 1),
        }
        found.append(row)
        print(json.dumps(row), flush=True)
    return found


def main() -> None:
    """Print both, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the folder of real images; without it odd shapes only")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{index}.nii" for index, name in enumerate(ODD)}
        for name, path in paths.items():
            save_ball(path, ODD[name])
        if arguments.data is not None:
            paths |= {name: arguments.data / file for name, file in REAL.items()}
        figures = {"differences": differences(paths), "speeds": speeds(list(paths.values())[-1])}
        if arguments.data is not None:
            figures["speeds_native"] = speeds(arguments.data / next(iter(REAL.values())))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, default=str, indent=1))


if __name__ == "__main__":
    main()
