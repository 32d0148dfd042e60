"""Extraction beside the limit of the machine, beside the plain loop, and beside another commit.

    python benchmarks/extraction.py --json out.json
    python benchmarks/extraction.py --beside ../old --volumes 32 --json out.json
    python benchmarks/extraction.py --images "../shared/data/ds002748-native/*/anat/*_T1w.nii.gz"

The limit is the fastest forward pass on pixels in memory, on the canvas and normalised, by any engine
and dtype that `auto` would take, with as many passes at a time as that engine makes. What `auto` found on
another day is forgotten, so that the first round pays for its trial and later ones remember it. The loop is
what DinoAtten3D's released code does of a volume: slice by slice, in float32. The extraction starts from
NIfTI files: it plans, starts its processes, decodes, prepares, resamples, measures what is fastest, embeds,
writes and commits. All are measured by turns in one run; beside
wall time stands CPU time, children included: on a shared machine it is the steadier one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Spawned processes import this file again: what is heavy is imported where it is used, as in the command.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extract.backbones.backbone import Backbone
    from extract.planning.config import ExtractSection

LOOP_SLICES = 16


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


def copy_images(folder: Path, pattern: str, volumes: int) -> None:
    """Volumes of somebody's own as a cohort; the first ones once more where there are fewer."""
    import glob
    import itertools
    import shutil

    found = sorted(glob.glob(pattern))
    if not found:
        raise SystemExit(f"no file is called {pattern!r}")
    for index, path in zip(range(volumes), itertools.cycle(found), strict=False):
        anat = folder / f"sub-{index:03}" / "anat"
        anat.mkdir(parents=True)
        shutil.copy(path, anat / f"sub-{index:03}_T1w.nii.gz")


def cpu_seconds() -> float:
    """CPU time of this process and of its ended children."""
    return sum(os.times()[:4])


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    start, used = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - start, cpu_seconds() - used


def able_backbones(section: ExtractSection) -> Mapping[str, Backbone]:
    """The backbone by every engine and dtype that is exact enough here, by name."""
    import functools

    import torch

    from extract.arithmetic.arithmetic import REFERENCE, Arithmetic, candidates, place_by
    from extract.arithmetic.measure import cosine_and_error, said_of_exactness
    from extract.arithmetic.trial import trial_slices
    from extract.engines.device import choose_device, imitates_bfloat16, this_machine
    from extract.engines.embed import CPU_BLOCK

    machine, pixels = this_machine(), section.preprocessing.pixels
    device = choose_device(section.asked_device, machine)
    rows = CPU_BLOCK if device.type == "cpu" else section.batch_size
    place = functools.partial(section.build_backbone, Path.cwd(), device)
    trial = trial_slices(pixels, rows).to(device)
    truth = place(torch.float32)(trial)
    found: dict[str, Backbone] = {}

    def try_one(each: Arithmetic) -> None:
        backbone = place_by(each, place, pixels, rows)
        said = said_of_exactness(each, *cosine_and_error(truth, backbone(trial)))
        if each == REFERENCE or not said:
            found[str(each)] = backbone
        else:
            print(f"{each} {said}", file=sys.stderr)

    for each in candidates("auto", "auto", device, imitates_bfloat16(device, machine)):
        try:
            try_one(each)
        except Exception as error:  # an arithmetic that this processor does not have
            print(f"{each}: {error}", file=sys.stderr)
    return found


def forward_seconds(section: ExtractSection, backbone: Backbone, slices: int) -> tuple[float, float]:
    """Wall and CPU seconds of the backbone alone over as many slices, in the extraction's batches."""
    import torch

    from extract.backbones.backbone import passes_at_once
    from extract.engines.device import choose_device, this_machine
    from extract.engines.embed import CPU_BLOCK

    device, pixels = choose_device(section.asked_device, this_machine()), section.preprocessing.pixels
    size = passes_at_once(backbone) * (CPU_BLOCK if device.type == "cpu" else section.batch_size)
    batch = torch.randn(size, 3, pixels, pixels, device=device)

    def work() -> None:
        for _ in range(-(-slices // size)):
            tokens = backbone(batch)
        tokens.patches[:1, 0, 0, 0].cpu()

    return timed(work)


def extraction_elsewhere(tree: Path, options: argparse.Namespace, folder: Path) -> float:
    """Seconds of the same extraction by another checkout, as its own benchmark has them."""
    given = ["--volumes", options.volumes, "--shape", *options.shape, "--size", options.size, "--rounds", 1]
    if options.images is not None:
        given += ["--images", str(Path(options.images).absolute())]
    if options.workers is not None:
        given += ["--workers", options.workers]
    out = folder / "beside.json"
    command = [sys.executable, str(tree / "benchmarks/extraction.py"), *map(str, given), "--json", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds: float = json.loads(out.read_text())["rounds"][0]["extract"]
    return seconds


def one_round(
    base: Path, section: ExtractSection, turn: int, able: Mapping[str, Backbone], options: argparse.Namespace
) -> dict[str, Any]:
    """An extraction, every forward pass, the loop, and the other checkout."""
    from released import embed

    from cache_schema.common.pipeline_file import Pipeline
    from cache_schema.store.create import fixed_at
    from extract.extraction import run_extraction

    data = {"run": {"folder": f"run{turn}"}, "cache": {"store": f"run{turn}/cache.zarr"}}
    used = cpu_seconds()
    outcome = run_extraction(Pipeline(data, base), section, progress=False)
    used = cpu_seconds() - used
    fixed = fixed_at(outcome.store)
    assert fixed is not None
    forward = {name: forward_seconds(section, backbone, outcome.slices) for name, backbone in able.items()}
    best = min(forward, key=lambda name: forward[name][0])
    wall, cpu = forward[best]
    auto = fixed.made.get("auto", {})
    loop = embed(1, LOOP_SLICES) * outcome.slices / LOOP_SLICES if options.size == "small" else None
    beside = None if options.beside is None else extraction_elsewhere(options.beside, options, base)
    return {
        "slices": outcome.slices,
        "extract": outcome.seconds,
        "forward": wall,
        "limit": best,
        "auto": auto.get("seconds", 0.0),
        "remembered": auto.get("remembered", ""),
        "taken": f"{fixed.numerics.engine} in {fixed.numerics.compute_dtype}",
        "forwards": {name: seconds for name, (seconds, _) in forward.items()},
        "ratio_to_limit": wall / outcome.seconds,
        "ratio_to_limit_after_auto": wall / (outcome.seconds - auto.get("seconds", 0.0)),
        "ratio_to_slice_loop": None if loop is None else loop / outcome.seconds,
        "ratio_to_beside": None if beside is None else beside / outcome.seconds,
        "extract_cpu": used,
        "forward_cpu": cpu,
        "ratio_cpu": used / cpu,
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All of it by turns, and medians."""
    import torch

    from extract.arithmetic.processor import processor_kind
    from extract.engines.device import this_machine
    from extract.planning.config import ExtractSection

    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(base / "cache")
        if options.images is not None:
            copy_images(base / "bids", options.images, options.volumes)
        else:
            write_cohort(base / "bids", options.volumes, tuple(options.shape))
        section = ExtractSection.model_validate(
            {
                "input": {"bids": "bids", "suffix": "T1w"},
                "backbone": {"kind": "untrained", "size": options.size},
                "dtype": options.dtype,
                "engine": options.engine,
                "batch_size": options.batch_size,
                "workers": options.workers,
            }
        )
        able = able_backbones(section)
        rounds = [one_round(base, section, turn, able, options) for turn in range(options.rounds)]
    numbers = [key for key, value in rounds[0].items() if isinstance(value, float)]
    middle = {key: statistics.median(one[key] for one in rounds) for key in numbers}
    return {
        "volumes": options.volumes,
        "shape": options.shape if options.images is None else options.images,
        "slices": rounds[0]["slices"],
        "backbone": f"untrained {options.size}",
        "engine": options.engine,
        "dtype": options.dtype,
        "cores": this_machine().cpu_count,
        "machine": platform.machine(),
        "processor": processor_kind(),
        "torch": torch.__version__,
        "ratio_to_limit": middle["ratio_to_limit"],
        "ratio_to_slice_loop": middle.get("ratio_to_slice_loop"),
        "ratio_to_beside": middle.get("ratio_to_beside"),
        "median": middle,
        "rounds": rounds,
    }


def main() -> int:
    """Print a table, and JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--shape", type=int, nargs=3, default=[192, 224, 160])
    parser.add_argument("--images", default=None, metavar="GLOB", help="files of your own, *.nii.gz")
    parser.add_argument("--size", default="small", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--engine", default="auto", choices=["auto", "torch", "openvino"])
    parser.add_argument("--batch-size", type=int, default=64, help="on a GPU; a CPU takes 8")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path, default=None, metavar="TREE", help="another checkout")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command does, before torch is loaded
    result = measure(options)
    print(
        f"{result['volumes']} volumes, {result['slices']} slices, {result['backbone']}, {result['processor']}"
    )
    names = (
        "extract",
        "auto",
        "forward",
        "ratio_to_limit",
        "ratio_to_slice_loop",
        "ratio_to_beside",
        "ratio_cpu",
    )
    print(" ".join(f"{name:>20}" for name in ("round", *names, "slices/s")))
    for name, one in [*enumerate(result["rounds"], start=1), ("median", result["median"])]:
        values = (*(one.get(key) for key in names), result["slices"] / one["extract"])
        told = ("" if value is None else f"{value:.2f}" for value in values)
        print(" ".join([f"{name!s:>20}", *(f"{text:>20}" for text in told)]))
    for one in result["rounds"]:
        rates = (f"{name} {result['slices'] / seconds:.1f}" for name, seconds in one["forwards"].items())
        print(f"took {one['taken']}; forward passes, slices/s: {', '.join(rates)}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
