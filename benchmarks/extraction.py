"""Extraction beside the pure forward pass, in one run: same slices, batch, dtype; interleaved medians.

    python benchmarks/extraction.py --json out.json

The forward pass gets pixels that are on the canvas and normalised already. The extraction starts from
NIfTI files: it plans, starts its processes, decodes, prepares, resamples, embeds, writes and commits.
What it costs beyond the forward pass is the price of everything that is not the backbone. Beside wall
time stands CPU time, children included: on a shared machine, with OMP_NUM_THREADS=1, it is the steadier one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

# Spawned processes import this file again: what is heavy is imported where it is used, as in the command.
if TYPE_CHECKING:
    from extract.planning.config import ExtractSection


def write_cohort(folder: Path, volumes: int, shape: tuple[int, int, int]) -> None:
    """Balls of noise in a black box, as compressed int16 NIfTI: decoding costs what real files cost."""
    import nibabel as nib
    import numpy as np

    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = sum(axis**2 for axis in axes) < 0.8
    for index in range(volumes):
        rng = np.random.default_rng(index)
        values = (ball * rng.integers(100, 4000, shape)).astype(np.int16)
        anat = folder / f"sub-{index:03}" / "anat"
        anat.mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, np.eye(4)), anat / f"sub-{index:03}_T1w.nii.gz")


def cpu_seconds() -> float:
    """CPU time of this process and of its ended children."""
    return sum(os.times()[:4])


def time_forward(section: ExtractSection, slices: int) -> tuple[float, float]:
    """Wall and CPU seconds of the backbone alone over as many slices, in the extraction's batches."""
    import torch

    from extract.engines.device import DTYPES, choose_device, choose_dtype, this_machine
    from extract.engines.embed import CPU_BLOCK

    machine = this_machine()
    device = choose_device(section.device, machine)
    dtype = DTYPES[choose_dtype(section.dtype, device, machine, None)]
    size = CPU_BLOCK if device.type == "cpu" else section.batch_size
    pixels = section.preprocessing.pixels
    backbone = section.backbone.build(pixels, device, dtype)
    batch = torch.randn(size, 3, pixels, pixels, device=device)
    backbone(batch)
    start, used = time.perf_counter(), cpu_seconds()
    for _ in range(-(-slices // size)):
        tokens = backbone(batch)
    tokens.cls["cls"].cpu()
    return time.perf_counter() - start, cpu_seconds() - used


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Run both by turns and give medians."""
    import torch

    from cache_schema.common.pipeline_file import Pipeline
    from extract.engines.device import this_machine
    from extract.extraction import run_extraction
    from extract.planning.config import ExtractSection

    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        write_cohort(base / "bids", options.volumes, tuple(options.shape))
        section = ExtractSection.model_validate(
            {
                "input": {"bids": "bids", "suffix": "T1w"},
                "backbone": {"kind": "untrained", "size": options.size},
                "dtype": options.dtype,
                "batch_size": options.batch_size,
                "workers": options.workers,
            }
        )
        for turn in range(options.rounds):
            data = {"run": {"folder": f"run{turn}"}, "cache": {"store": f"run{turn}/cache.zarr"}}
            used = cpu_seconds()
            outcome = run_extraction(Pipeline(data, base), section, progress=False)
            used = cpu_seconds() - used
            forward, forward_cpu = time_forward(section, outcome.slices)
            rounds.append(
                {
                    "extract": outcome.seconds,
                    "forward": forward,
                    "ratio": outcome.seconds / forward,
                    "extract_cpu": used,
                    "forward_cpu": forward_cpu,
                    "ratio_cpu": used / forward_cpu,
                }
            )
            count = outcome.slices
    middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    return {
        "volumes": options.volumes,
        "shape": options.shape,
        "slices": count,
        "backbone": f"untrained {options.size}",
        "dtype": options.dtype,
        "cores": this_machine().cpu_count,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "median": middle,
        "rounds": rounds,
    }


def main() -> int:
    """Print a table, and JSON when asked."""
    parser = argparse.ArgumentParser(description="Extraction beside the pure forward pass.")
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--shape", type=int, nargs=3, default=[192, 224, 160])
    parser.add_argument("--size", default="small", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--batch-size", type=int, default=64, help="on a GPU; a CPU takes 8")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command does, before torch is loaded
    result = measure(options)
    rounds = result["rounds"]
    print(f"{result['volumes']} volumes, {result['slices']} slices, {result['backbone']}, {result['dtype']}")
    names = ("round", "extract s", "forward s", "ratio", "slices/s", "CPU ratio")
    print(" ".join(f"{name:>10}" for name in names))
    for name, one in [*enumerate(rounds, start=1), ("median", result["median"])]:
        values = (
            one["extract"],
            one["forward"],
            one["ratio"],
            result["slices"] / one["extract"],
            one["ratio_cpu"],
        )
        print(" ".join([f"{name!s:>10}", *(f"{value:10.2f}" for value in values)]))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
