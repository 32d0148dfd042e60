"""Scoring by two processes, one of which is killed: all is there, as it is without workers."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scored_files import files_of
from slow_cohort import worker_processes

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

pytestmark = pytest.mark.slow

STRANGER = """
import time
import torch


class Slow(torch.nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(dim))

    def update(self, batch):
        self.total += batch.patches.mean((0, 1, 2))

    def score(self, batch):
        time.sleep(0.7)
        return (batch.patches - self.total).norm(dim=3)
"""
OWN = {"kind": "custom", "target": "slow_stranger:Slow"}


def detect(file: Path, *options: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "slicecache", "detect", str(file), "--json", *options]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_worker_that_is_killed_costs_nothing(study, tmp_path):
    (tmp_path / "slow_stranger.py").write_text(STRANGER)
    (tmp_path / "site.yaml").write_text("dask: {workers: 2}\n")
    file = study.write(detectors=[*study.detectors, OWN], maps="none")
    here = detect(file, "--set", "run.folder=here")
    process = detect(file, "--engine", "dask", "--site", str(tmp_path / "site.yaml"))
    scores, end = tmp_path / "run" / "detect" / "scores", time.monotonic() + 180
    while len(list(scores.glob("custom-*/*.safetensors"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing is scored"
        time.sleep(0.05)
    workers = worker_processes(process)
    assert len(workers) == 2
    workers[0].kill()
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    _, err = here.communicate(timeout=180)
    assert here.returncode == 0, err
    assert json.loads(out)["verdict"]
    assert files_of(tmp_path / "run" / "detect") == files_of(tmp_path / "here" / "detect")
