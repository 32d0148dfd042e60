"""A cohort whose backbone takes its time, extracted by a command of its own, for tests that kill it."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from made_up_inputs import AFFINE, SHAPE, voxels

VOLUMES = 10
POISON = 4
"""Slices of the volume that no worker survives; the rest of its batch is filled up."""
BACKBONE = '''
import os, pathlib, time
import torch

POISON = pathlib.Path(__file__).with_name("poison.nii")

class Slow:
    """Takes its time; a batch of which half is filling kills its process."""
    dim, patch_size, identity = 4, 14, "slow"

    def __call__(self, pixels):
        time.sleep(float(os.environ.get("SLOW_SECONDS", "0.12")))
        if POISON.exists() and sum(len(image.unique()) <= 3 for image in pixels) >= 4:
            os._exit(9)
        patches = pixels.mean(1).unfold(1, 14, 14).unfold(2, 14, 14)
        tokens = [f(patches, (-2, -1)) for f in (torch.mean, torch.amax, torch.amin, torch.var)]
        tokens = torch.stack(tokens, -1)
        return {"patches": tokens, "cls": tokens.mean((1, 2))}
'''


def cohort(folder: Path, poison: bool = False) -> Path:
    rows = ["participant_id\tpath"]
    for number in range(VOLUMES):
        nib.save(nib.Nifti1Image(voxels(number), AFFINE), folder / f"v{number}.nii")
        rows.append(f"p{number:02}\tv{number}.nii")
    if poison:
        data = np.zeros(SHAPE, np.float32)
        data[5:25, 5:30, 6 : 6 + POISON] = np.random.default_rng(0).uniform(50, 200, (20, 25, POISON))
        nib.save(nib.Nifti1Image(data, AFFINE), folder / "poison.nii")
        rows.append("poison\tpoison.nii")
    (folder / "volumes.tsv").write_text("\n".join(rows) + "\n")
    (folder / "slow_backbone.py").write_text(BACKBONE)
    (folder / "site.yaml").write_text("dask: {workers: 2}\n")
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": {
            "input": {"manifest": "volumes.tsv"},
            "canvas": 28,
            "backbone": {"kind": "custom", "target": "slow_backbone:Slow"},
        },
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return folder


def command(folder: Path, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "slicecache", "extract", str(folder / "pipeline.yaml"), "--json", *options]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=env
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, object], str]:
    out, err = process.communicate(timeout=150)
    return process.returncode, json.loads(out) if out else {}, err


def undisturbed(folder: Path) -> object:
    """The content digest of the local engine."""
    options = (
        "--set",
        "run.folder=local",
        "--set",
        "cache.store=local/cache.zarr",
        "--set",
        "extract.workers=0",
    )
    code, outcome, err = ended(command(folder, *options))
    assert code == 0, err
    return outcome["content_digest"]


def wait_for_records(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while len(list(folder.glob("run/cache.zarr/records/*/*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "no volume is committed"
        time.sleep(0.05)


def worker_processes(process: subprocess.Popen[str]) -> list[Any]:
    """The processes of dask that a command has started; psutil comes with dask."""
    import psutil

    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
