"""The script that kills extractions at system calls, on a few kills."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from power_loss.recording import why_not

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_kills_at_calls_lose_and_tear_nothing(tmp_path):
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    out = tmp_path / "kills.json"
    script = ROOT / "benchmarks" / "write_kills.py"
    command = [sys.executable, str(script), "--kills", "12", "--volumes", "4", "--json", str(out)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["kills"] >= 12
    assert (found["lost"], found["torn"], found["wrong_digest"], found["left_over"]) == (0, 0, 0, 0)
