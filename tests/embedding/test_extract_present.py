"""Whether weights lie on this machine, asked without torch and without a network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from extract.backbones.dinov2 import Dinov2Spec, write_example
from extract.backbones.present import weights_missing
from extract.backbones.untrained import UntrainedSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A snapshot of `lab/small` as the hub's own cache lays it out, in a cache that holds nothing else."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--lab--small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return write_example(repository / "snapshots" / COMMIT, gated=False, registers=False)


def test_drawn_weights_are_never_missing(tmp_path):
    assert weights_missing(UntrainedSpec(), tmp_path) is None


def test_a_snapshot_in_the_cache_is_found_and_another_one_is_not(cached, tmp_path):
    assert weights_missing(Dinov2Spec(repository="lab/small"), tmp_path) is None
    assert "slicecache backbone fetch" in weights_missing(Dinov2Spec(repository="lab/other"), tmp_path)
    revision = Dinov2Spec(repository="lab/small", revision="f" * 40)
    assert "not in the local cache" in weights_missing(revision, tmp_path)


def test_half_a_snapshot_is_missing(cached, tmp_path):
    (cached / "model.safetensors").unlink()
    assert "no .safetensors" in weights_missing(Dinov2Spec(repository="lab/small"), tmp_path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "model.bin"), "no .safetensors"),
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "there is no folder"),
        (lambda folder: _index(folder, {"a": "model.safetensors", "b": "second.safetensors"}), "'second"),
        (lambda folder: _index(folder, {"b": "../../outside.safetensors"}), "no file of this folder"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{"), "cannot be read"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path, spoil, says):
    folder = write_example(tmp_path / "weights", gated=False, registers=False)
    spec = Dinov2Spec(path=Path("weights"))
    assert weights_missing(spec, tmp_path) is None
    spoil(folder)
    assert says in weights_missing(spec, tmp_path)


def _index(folder, parts):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


def test_asking_imports_no_torch():
    code = (
        "import sys; from pathlib import Path; from extract.backbones.dinov2 import Dinov2Spec; "
        "from extract.backbones.present import weights_missing; "
        "assert weights_missing(Dinov2Spec(path='nowhere'), Path('.')); "
        "sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
