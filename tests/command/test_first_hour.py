"""The first hour with weights, as it runs where there are none."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cache_schema.common.errors import ConfigError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "first_hour.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("first_hour", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["first_hour"] = module
    spec.loader.exec_module(module)
    return module


def test_what_is_refused_is_left_out_and_said(script, tmp_path, capsys):
    hour = script.Hour(tmp_path, dry=False)

    def gated():
        raise ConfigError("its weights are gated")

    assert hour.step("fetch", "dinov3/small", gated) is None
    assert hour.step("laws", "dinov2/small", lambda: (False, "a law is broken", {})) == {}
    table = script.readme_table(hour.steps, dry=False)
    assert "| dinov3/small | fetch | its weights are gated | left out |" in table
    assert "| dinov2/small | laws | a law is broken | NOT OK |" in table
    assert "its weights are gated" in capsys.readouterr().out


def test_a_dry_run_names_drawn_weights_in_every_row(script, tmp_path):
    hour = script.Hour(tmp_path, dry=True)
    spec = hour.fetched("dinov2/with-registers-small")
    assert spec.path.parent == tmp_path
    assert all(
        "(dry run: drawn weights)" in row for row in script.readme_table(hour.steps, True).splitlines()[2:]
    )
    ok, said, found = script.looked_at(spec)
    assert ok
    assert found["digest"] in said


@pytest.mark.slow
def test_the_whole_hour_dry(tmp_path):
    kept = tmp_path / "found.json"
    words = ["--dry-run", "--workers", "0", "--backbones", "dinov2/small", "--json", kept]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = json.loads(kept.read_text())
    assert [step["name"] for step in steps] == [
        "study",
        "fetch",
        "show",
        "laws",
        "beside transformers",
        "study",
    ]
    assert all(step["ok"] for step in steps)
    beside = steps[4]["found"]
    assert max(beside["cls_70"], beside["patches_70"]) <= 1e-5
    assert beside["patches_224"] > 1e-5  # the other rule of positions
    assert 0 <= steps[5]["found"]["auroc"]["value"] <= 1
