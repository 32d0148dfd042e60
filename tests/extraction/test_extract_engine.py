"""Decoding ahead: order, bad files, and processes that die."""

import os
import signal
from concurrent.futures import Future
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.engines import decode as decoding
from extract.engines.decode import DIED, attempt, decode_ahead
from extract.planning.plan import PlannedVolume
from extract.slices.prepare import PreparedVolume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import preprocessing_of
from extract.sources.candidate import Candidate

LETTERBOX = preprocessing_of("letterbox", StepOverrides(canvas=56))


def write_volume(path: Path, seed: int, shape=(31, 37, 23)) -> None:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    ball = (grid**2).sum(axis=0) < 0.6
    nib.save(
        nib.Nifti1Image((ball * rng.uniform(50, 200, shape)).astype(np.float32), np.diag([5, 5, 5, 1])), path
    )


def planned_of(path: Path) -> PlannedVolume:
    key = VolumeKey(path.name.partition(".")[0], "", "T1w")
    candidate = Candidate(key, path, path.name, Entities())
    return PlannedVolume(candidate, (31, 37, 23), (5.0, 5.0, 5.0), 23, None)


def decode(planned, workers):
    """As the engine does for one store."""
    for volume, made in decode_ahead([(each, (0,)) for each in planned], [LETTERBOX], workers):
        yield volume, made[0]


def killer(candidate, several):
    """Stands in for a reader that the kernel kills: runs in the decoding process."""
    if candidate.key.participant_id == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt(candidate, several)


@pytest.fixture
def four(tmp_path):
    for seed, name in enumerate("acd"):
        write_volume(tmp_path / f"{name}.nii", seed)
    (tmp_path / "b.nii").write_bytes(b"this is no image")
    return [planned_of(tmp_path / f"{name}.nii") for name in "abcd"]


@pytest.mark.parametrize("workers", [0, 2])
def test_volumes_come_back_in_order_and_bad_ones_with_a_reason(four, workers):
    found = list(decode(four, workers))
    assert [planned for planned, _ in found] == four
    assert [isinstance(result, str) for _, result in found] == [False, True, False, False]
    assert len(found[1][1]) > 10


def test_processes_give_what_this_one_gives(four):
    here, there = (next(decode(four[2:3], workers))[1] for workers in (0, 1))
    assert isinstance(here, PreparedVolume)
    assert isinstance(there, PreparedVolume)
    assert np.array_equal(here.images, there.images)
    assert np.array_equal(here.row_weights, there.row_weights)


def test_a_process_that_dies_costs_its_own_volume_only(four, monkeypatch, tmp_path):
    write_volume(tmp_path / "b.nii", 9)
    monkeypatch.setattr(decoding, "attempt", killer)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    )
    found = list(decode(four, 2))
    assert [planned.candidate.key.participant_id for planned, _ in found] == list("abcd")
    assert [result == DIED for _, result in found] == [False, True, False, False]
    assert all(isinstance(result, PreparedVolume) for _, result in found if result != DIED)


def test_an_unexpected_error_is_a_reason_and_not_the_end(four, monkeypatch):
    def broken(candidate, several):
        raise ZeroDivisionError("something\nodd")

    monkeypatch.setattr(decoding, "prepare_each", broken)
    assert [result for _, result in decode(four, 0)] == ["unexpected ZeroDivisionError: something odd"] * 4


def test_decoding_processes_never_import_torch(four):
    import subprocess
    import sys

    heavy = {"torch", "zarr", "transformers", "pandas"}
    code = f"import extract.engines.decode, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Late(Future):
    """Is never ready when it is asked for."""

    def result(self, timeout=None):
        self.set_result(("made",))
        return super().result(timeout)


@pytest.mark.parametrize(("late", "begin", "wanted"), [(1, 1, 4), (0, 1, 1), (1, 4, 4), (0, 3, 3)])
def test_as_many_decode_as_keep_the_backbone_fed(tmp_path, monkeypatch, late, begin, wanted):
    """One more whenever a volume is waited for, up to the cores; where none is, it stays at few."""
    asked = [(planned_of(tmp_path / f"{name}.nii"), (0,)) for name in "abcdefghijkl"]
    ready = Future()
    ready.set_result(("made",))
    flying = []

    def submit(self, asked):
        flying.append(1 + len(self.flying))
        return Late() if late else ready

    monkeypatch.setattr(decoding._Ahead, "_submit", submit)
    ahead = decoding._Ahead([LETTERBOX], 4, begin)
    assert [planned for planned, _ in ahead.run(asked)] == [planned for planned, _ in asked]
    assert ahead.wanted == wanted
    assert max(flying) == wanted + 1
