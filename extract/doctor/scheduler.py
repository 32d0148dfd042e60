"""Batch systems: which are there, and whether this is a job of one."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from extract.doctor.finding import Finding

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "Slurm": ("sbatch", "squeue", "scontrol"),
    "PBS or SGE": ("qsub",),
    "LSF": ("bsub",),
    "Kubernetes": ("kubectl",),
}
"""Batch system -> what its users type."""
JOBS: Mapping[str, str] = {
    "SLURM_JOB_ID": "Slurm",
    "PBS_JOBID": "PBS",
    "LSB_JOBID": "LSF",
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
}
"""Variable that only a job has -> whose."""


@dataclass(frozen=True, slots=True)
class SchedulerFacts:
    """What is there."""

    found: Mapping[str, tuple[str, ...]]
    """Batch system -> its commands on the path."""
    job: str
    """`Slurm job 12`; empty outside of one."""


def scheduler_facts(environment: Mapping[str, str] = os.environ) -> SchedulerFacts:
    """Look at the path and the environment; nobody is called."""
    path = environment.get("PATH")
    found = {
        name: there
        for name, commands in COMMANDS.items()
        if (there := tuple(command for command in commands if shutil.which(command, path=path)))
    }
    job = next(
        (f"{whose} job {environment[name]}" for name, whose in JOBS.items() if environment.get(name)), ""
    )
    if not job and environment.get("JOB_ID") and environment.get("SGE_ROOT"):
        job = f"SGE job {environment['JOB_ID']}"
    return SchedulerFacts(found, job)


def judge_scheduler(facts: SchedulerFacts) -> Finding:
    """What a user can type here."""
    inside = f"inside {facts.job}" if facts.job else "not inside a job"
    if not facts.found:
        where = "ok" if facts.job else "note"
        advice = "" if facts.job else "here extract runs by itself; submit from a login node"
        return Finding("scheduler", "ok" if where == "ok" else "note", f"none found, {inside}", advice)
    listed = "; ".join(f"{name} ({', '.join(commands)})" for name, commands in facts.found.items())
    slurm = facts.found.get("Slurm")
    if slurm and len(slurm) < len(COMMANDS["Slurm"]):
        absent = ", ".join(command for command in COMMANDS["Slurm"] if command not in slurm)
        advice = "load the site's Slurm module: jobs are submitted, watched and requeued with all three"
        return Finding("scheduler", "note", f"{listed}, without {absent}, {inside}", advice)
    return Finding("scheduler", "ok", f"{listed}, {inside}")
