"""Talking to Slurm: hand in scripts, and ask what became of them."""

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.common.strict import Strict

PATIENCE_SECONDS = 120
ABSENT = ("contact slurm controller", "timed out", "connect", "Zero Bytes", "munge", "Protocol")
"""What `sbatch` says when there is nobody to answer it; everything else is about what was asked."""


class Submitted(Strict):
    """What was handed in, as it is kept beside the scripts."""

    arrays: tuple[str, ...]
    """Job ids: of the array, and of those that were in the queue when it was handed in."""
    finish: str
    tasks: int
    """Into how many shares the work is divided."""


def require_slurm() -> None:
    """Before anything else is done.

    Raises:
        ConfigError: If there is no `sbatch`.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "--engine slurm: there is no `sbatch` on this machine; type it on a login node of the cluster, "
            "look at the scripts with --dry-run, or extract here with --engine local"
        )


def submit(script: Path, options: Sequence[str] = ()) -> str:
    """Hand in a script, and return its job id.

    Raises:
        ConfigError: If Slurm does not take it, in Slurm's own words.
        MachineError: If Slurm is not there.
    """
    return said_by("sbatch", "--parsable", *options, str(script)).partition(";")[0]


def tasks_in_queue(arrays: Sequence[str]) -> frozenset[int]:
    """Indices of the arrays' tasks that wait or run; none of a job that Slurm has forgotten.

    Raises:
        MachineError: If Slurm is not there.
    """
    found: set[int] = set()
    for job in arrays:
        with suppress(ConfigError):  # Invalid job id specified
            said = said_by("squeue", "--noheader", "--array", f"--jobs={job}", "--format=%K")
            found.update(int(word) for word in said.split() if word.isdigit())
    return frozenset(found)


def cancel_waiting(job: str) -> None:
    """Take back a job that has not begun; one that is gone already is no mistake."""
    said_by("scancel", "--quiet", "--state=PENDING", job)


def said_by(*command: str) -> str:
    """What a command of Slurm prints.

    Raises:
        ConfigError: If it refuses.
        MachineError: If there is nobody to answer.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"Slurm's `{command[0]}` does not answer within {PATIENCE_SECONDS} s") from error
    except OSError as error:
        raise MachineError(f"Slurm's `{command[0]}` cannot be run: {error.strerror}") from error
    if done.returncode == 0:
        return done.stdout.strip()
    words = [line.removeprefix(f"{command[0]}: error: ").strip() for line in done.stderr.splitlines()]
    why = "; ".join(word for word in words if word) or f"it ended with {done.returncode}"
    if any(absent in why for absent in ABSENT):
        raise MachineError(f"Slurm does not answer `{command[0]}`: {why}")
    raise ConfigError(f"Slurm's `{command[0]}` refuses {command[-1]!r}: {why}; see the site file (--site)")
