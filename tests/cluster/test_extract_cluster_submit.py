"""What Slurm says, good and bad, by programs that stand in for its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cache_schema.common.errors import ConfigError, MachineError
from extract.cluster.submit import cancel_waiting, require_slurm, submit, tasks_in_queue

Stand = Callable[..., None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """A program of a name that says something and ends so."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def write(name: str, out: str = "", err: str = "", code: int = 0) -> None:
        script = f"#!/bin/bash\ncat <<'E'\n{out}\nE\ncat >&2 <<'E'\n{err}\nE\nexit {code}\n"
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)

    return write


@pytest.mark.parametrize(("said", "job"), [("123", "123"), ("123;far", "123")])
def test_a_job_id_with_or_without_a_cluster(stand_in, said, job):
    stand_in("sbatch", said)
    assert submit(Path("x.sh")) == job


@pytest.mark.parametrize(
    ("err", "kind", "says"),
    [
        (
            "sbatch: error: invalid partition specified: nix\nsbatch: error: Batch job submission failed: "
            "Invalid partition name specified",
            ConfigError,
            "invalid partition specified: nix; Batch job submission failed.*site file",
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (no route)",
            MachineError,
            "does not answer `sbatch`.*Unable to contact",
        ),
        ("", ConfigError, "ended with 1"),
    ],
)
def test_a_refusal_is_one_sentence_with_slurms_own_words(stand_in, err, kind, says):
    stand_in("sbatch", err=err, code=1)
    with pytest.raises(kind, match=says) as raised:
        submit(Path("x.sh"))
    assert "\n" not in str(raised.value)


def test_indices_in_the_queue_and_none_of_a_forgotten_job(stand_in):
    stand_in("squeue", "3\n7\nN/A\n")
    assert tasks_in_queue(["12"]) == {3, 7}
    stand_in("squeue", err="slurm_load_jobs error: Invalid job id specified", code=1)
    assert tasks_in_queue(["12"]) == frozenset()
    stand_in("squeue", err="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    with pytest.raises(MachineError, match="Unable to contact"):
        tasks_in_queue(["12"])


def test_a_waiting_job_is_taken_back(stand_in, tmp_path):
    stand_in("scancel")
    cancel_waiting("12")


def test_without_slurm_the_sentence_says_what_else_can_be_done(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no `sbatch`.*--dry-run.*--engine local"):
        require_slurm()
