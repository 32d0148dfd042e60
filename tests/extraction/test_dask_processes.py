"""The dask engine with processes that are killed: workers, the command and its scheduler, other schedulers."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
import yaml
from made_up_inputs import AFFINE, SHAPE, voxels

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

pytestmark = pytest.mark.slow

VOLUMES = 10
POISON = 4
"""Slices of the volume that no worker survives; the rest of its batch is filled up."""
BACKBONE = '''
import os, time
import torch

class Slow:
    """Takes its time; a batch of which half is filling kills its process."""
    dim, patch_size, identity = 4, 14, "slow"

    def __call__(self, pixels):
        time.sleep(0.12)
        if sum(len(image.unique()) <= 3 for image in pixels) >= 4:
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


def command(folder: Path, *options: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "slicecache", "extract", str(folder / "pipeline.yaml"), "--json", *options]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
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


def worker_processes(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_worker_that_is_killed_costs_nothing_and_a_volume_that_kills_costs_itself(tmp_path):
    digest = undisturbed(cohort(tmp_path))
    cohort(tmp_path, poison=True)
    process = command(tmp_path, "--engine", "dask", "--site", str(tmp_path / "site.yaml"))
    wait_for_records(tmp_path, 2, process)
    worker_processes(process)[0].kill()
    code, outcome, err = ended(process)
    assert (code, outcome["embedded"], outcome["failed"]) == (1, VOLUMES, 1), err
    assert outcome["content_digest"] == digest
    with open(tmp_path / "run" / "failures.tsv") as stream:
        (row,) = csv.DictReader(stream, delimiter="\t")
    assert row["participant_id"] == "poison"
    assert "died" in row["reason"]
    assert "Traceback" not in err


def test_the_command_is_killed_and_goes_on_where_it_was(tmp_path):
    digest = undisturbed(cohort(tmp_path))
    site = ("--engine", "dask", "--site", str(tmp_path / "site.yaml"))
    process = command(tmp_path, *site)
    wait_for_records(tmp_path, 3, process)
    workers = worker_processes(process)
    assert len(workers) == 2
    process.kill()  # its scheduler dies with it
    process.communicate()
    assert not psutil.wait_procs(workers, timeout=20)[1]
    process = command(tmp_path, *site)
    wait_for_records(tmp_path, 6, process)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130
    assert re.sub(r"(?m)^\d+/\d+ volumes.*\n|^slicecache: imported.*\n", "", err).count("\n") == 1
    there = len(list(tmp_path.glob("run/cache.zarr/records/*/*.json")))
    code, outcome, err = ended(command(tmp_path, *site))
    assert (code, outcome["skipped"], outcome["embedded"]) == (0, there, VOLUMES - there), err
    assert outcome["content_digest"] == digest


def test_a_scheduler_that_dies_ends_the_command_with_one_line(tmp_path):
    folder, dask = cohort(tmp_path), [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    file = tmp_path / "scheduler.json"
    local = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file), *local],
        **quiet,
    )
    workers = subprocess.Popen(
        [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "2", "--death-timeout", "60", *local],
        **quiet,
    )
    try:
        while not file.exists():
            assert scheduler.poll() is None
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        process = command(folder, "--engine", "dask", "--scheduler", address)
        wait_for_records(folder, 2, process)
        scheduler.kill()
        code, _, err = ended(process)
        assert code == 3
        last = err.splitlines()[-1]
        assert re.search(rf"scheduler at '{address}' went away; \d+ volumes were committed", last)
        assert "Traceback" not in err
    finally:
        for one in (scheduler, workers):
            one.kill()
            one.wait()
