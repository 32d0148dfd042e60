"""HDF5 may hang, die or run wild over a damaged file: it is not this process, and the next file is read."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from cache_schema.common.errors import MachineError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.files.h5 import apart
from cache_schema.files.h5.running import UnreadableHdf5
from cache_schema.store.reader import open_store
from extract.cli import read_extract_section
from extract.extraction import run_extraction

AFFINE = np.diag([4.0, 4, 4, 1])
WILD = '''
"""Stands before h5py on the path of the process apart: the real one, but for files of certain names."""
import os, signal, sys

sys.path.remove(os.path.dirname(__file__))
del sys.modules["h5py"]
import h5py

read = h5py.Dataset.__getitem__

def wild(dataset, where):
    name = os.path.basename(dataset.file.filename)
    if name == "dies.h5":
        os.abort()
    if name == "killed.h5":
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    if name == "garbles.h5":
        for fd in range(3, 10):
            if os.path.exists(f"/proc/self/fd/{fd}") and not os.path.isfile(f"/proc/self/fd/{fd}"):
                os.write(fd, b"x" * 100)
    if name == "grows.h5":
        bytearray(1 << 36)
    return read(dataset, where)

h5py.Dataset.__getitem__ = wild
'''


@pytest.fixture
def wild(tmp_path, monkeypatch) -> Iterator[None]:
    """A process apart in which HDF5 is what a damaged file can make of it."""
    folder = tmp_path / "wild"
    folder.mkdir()
    (folder / "h5py.py").write_text(WILD)
    apart.APART.end()
    monkeypatch.syspath_prepend(str(folder))
    yield
    apart.APART.end()


def volume(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (31, 37, 23)), indexing="ij"))
    with h5py.File(path, "w") as file:
        file["t1"] = ((grid**2).sum(axis=0) < 0.6) * rng.uniform(50, 200, grid.shape[1:]).astype(np.float32)
        file["t1"].attrs["affine"] = AFFINE
        file["t1"].attrs["orientation"] = "RAS"
    return path


def endless(path: Path) -> Path:
    """A file whose text attribute lies in a heap with an object of no length: HDF5 goes round and round."""
    data = bytearray(volume(path).read_bytes())
    at = data.index(b"GCOL") + 24
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    return path


def facts(path: Path) -> dict:
    return apart.ask("dataset", path, name="/t1", attributes=["affine", "orientation"])[0]


def voxels(path: Path) -> bytes:
    shape = [31, 37, 23]
    return apart.ask("voxels", path, most=4 * 31 * 37 * 23, name="/t1", shape=shape, dtype="<f4")[1]


def test_a_file_that_hdf5_comes_to_no_end_with_is_refused_and_the_next_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "OPENING_S", 1.0)
    path, sound = endless(tmp_path / "endless.h5"), volume(tmp_path / "sound.h5")
    with pytest.raises(UnreadableHdf5, match="does not come to an end with it"):
        facts(path)
    assert facts(sound)["attributes"]["orientation"]["text"] == "RAS"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dies.h5", r"does not survive it \(SIGABRT\)"),
        ("killed.h5", "process that read it was killed"),
        ("garbles.h5", "answers nonsense"),
        ("grows.h5", "^MemoryError|Unable to allocate"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="limits and ends of processes as Linux has them")
def test_what_a_file_does_to_its_process_is_a_refusal_and_the_next_one_is_read(tmp_path, wild, name, says):
    path, sound = volume(tmp_path / name), volume(tmp_path / "sound.h5")
    with pytest.raises(UnreadableHdf5, match=says):
        voxels(path)
    with h5py.File(sound) as file:
        assert voxels(sound) == file["t1"][()].tobytes()


def test_a_process_that_was_killed_while_nobody_asked_is_no_fault_of_the_next_file(tmp_path):
    sound = volume(tmp_path / "sound.h5")
    facts(sound)
    number = apart.APART.running.number
    os.kill(number, signal.SIGKILL)
    os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)
    assert facts(sound)["shape"] == [31, 37, 23]
    assert apart.APART.running.number != number


def test_one_that_cannot_be_started_is_the_machines_fault(tmp_path, monkeypatch):
    sound = volume(tmp_path / "sound.h5")
    apart.APART.end()
    (tmp_path / "h5py.py").write_text("raise ImportError('a library is missing')")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        with pytest.raises(MachineError, match="cannot be started: a library is missing"):
            facts(sound)
        patch.setattr(sys, "executable", str(tmp_path / "none"))
        with pytest.raises(MachineError, match="cannot be started"):
            facts(sound)
    assert facts(sound)["shape"] == [31, 37, 23]


FORKED = """
import os, sys
from cache_schema.files.h5 import apart
def ask():
    said, _ = apart.ask("dataset", sys.argv[1], name="/t1", attributes=[])
    assert said["shape"] == [31, 37, 23], said
    return apart.APART.running.number
first = ask()
apart.APART._lock.acquire()  # as by a thread that is asking
child = os.fork()
if child == 0:
    print(ask(), flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
apart.APART._lock.release()
assert ask() == first
print(first, flush=True)
sys.stdin.read()
"""


def gone(number: int) -> bool:
    """Whether a process has ended, soon."""
    for _ in range(100):
        try:
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_a_fork_has_its_own_and_each_ends_with_who_asked(tmp_path, how):
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", FORKED, str(volume(tmp_path / "sound.h5"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        childs, own = (int(process.stdout.readline() or 0) for _ in range(2))
        assert own, process.stderr.read()
        assert own != childs
        assert gone(childs)
        assert Path(f"/proc/{own}/cmdline").read_text(), "it ended before who asked"
        if how == "is killed":
            process.kill()
        _, said = process.communicate("")
        assert (process.returncode, said) == (0 if how == "ends" else -signal.SIGKILL, "")
        assert gone(own)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_volume_that_kills_its_process_is_a_row_and_the_others_are_embedded(tmp_path, wild, workers):
    names = ["sound.h5", "dies.h5", "other.h5"]
    for seed, name in enumerate(names):
        volume(tmp_path / name, seed)
    rows = [f"p{number},{name}:/t1" for number, name in enumerate(names)]
    (tmp_path / "volumes.csv").write_text("\n".join(["participant_id,path", *rows]) + "\n")
    section = {
        "input": {"manifest": "volumes.csv"},
        "canvas": 56,
        "backbone": {"kind": "untrained", "size": "tiny"},
        "dtype": "float32",
        "workers": workers,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "run/cache.zarr"}, "extract": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    pipeline = load_pipeline(tmp_path / "pipeline.yaml", ())
    run_extraction(pipeline, read_extract_section(pipeline), progress=False)
    (row,) = (tmp_path / "run" / "failures.tsv").read_text().splitlines()[1:]
    assert "dies.h5" in row
    assert "the HDF5 library does not survive it (SIGABRT)" in row
    entries = open_store(tmp_path / "run" / "cache.zarr").entries
    assert [entry.key.participant_id for entry in entries] == ["p0", "p2"]
