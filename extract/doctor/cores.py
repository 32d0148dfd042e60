"""Cores and memory: those that are there, and those that the scheduler or a container lets us use."""

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache_schema.cluster.cores import GROUPS, OWN, allotted, bound_cores, memory_limits, quotas, whole
from cache_schema.files.disk.room import in_units
from extract.doctor.finding import Finding

GIBIBYTE = 2**30
LITTLE_MEMORY = 4 * GIBIBYTE
"""torch and a backbone take one or two, each decoding process a volume's few copies."""
TOO_LITTLE_MEMORY = 3 * GIBIBYTE // 2
FEW_FILES = 1024


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What there is, and what may be used of it."""

    cores: int
    bound: int
    """By affinity."""
    quota: float | None = None
    """Of the cgroup, in cores; None without one."""
    slurm: int | None = None
    """`SLURM_CPUS_PER_TASK`."""
    threads: int | None = None
    """`OMP_NUM_THREADS`."""
    in_job: bool = False
    memory: int = 0
    """Bytes of the machine; 0 when nobody says it."""
    memory_limit: int | None = None
    """Of the cgroup."""
    files: int = FEW_FILES
    """Files that may be open."""

    @property
    def usable(self) -> float:
        """Cores that can really work at a time."""
        return min(n for n in (self.bound, self.quota, self.slurm) if n is not None)


def machine_facts(
    environment: Mapping[str, str] = os.environ,
    groups: Path = GROUPS,
    own: Path = OWN,
) -> MachineFacts:
    """Look at this machine and process."""
    return MachineFacts(
        os.cpu_count() or 1,
        bound_cores(),
        min(quotas(groups, own), default=None),
        allotted(environment),
        whole(environment.get("OMP_NUM_THREADS")),
        "SLURM_JOB_ID" in environment,
        _memory(),
        min(memory_limits(groups, own), default=None),
        resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def judge_cores(facts: MachineFacts) -> Finding:
    """Cores: fewer than are there is usual on a cluster, fewer than we would start processes for is not."""
    shown = f"{facts.usable:g} of {facts.cores} may be used"
    limits = {"bound": facts.bound, "cgroup": facts.quota, "SLURM_CPUS_PER_TASK": facts.slurm}
    said = [f"{name} {n:g}" for name, n in limits.items() if n is not None and n < facts.cores]
    shown += f" ({', '.join(said)})" if said else ""
    if facts.threads is not None and facts.threads > facts.usable:
        shown += f", OMP_NUM_THREADS={facts.threads}"
        return Finding("cores", "note", shown, f"set OMP_NUM_THREADS to {max(1, int(facts.usable))} or less")
    if facts.usable < facts.bound and facts.threads is None:
        n = max(1, int(facts.usable))
        return Finding(
            "cores", "note", shown, f"torch starts threads for {facts.bound}: set OMP_NUM_THREADS={n}"
        )
    if facts.usable < 2:
        advice = "decoding needs cores, 5 to 20 beside a fast GPU"
        more = " (Slurm: --cpus-per-task)" if facts.in_job else ""
        return Finding("cores", "note", shown, f"{advice}: ask for more{more}")
    return Finding("cores", "ok", shown)


def judge_memory(facts: MachineFacts) -> Finding:
    """Memory of the machine, or what is left of it by a limit."""
    there = [n for n in (facts.memory, facts.memory_limit) if n]
    if not there:
        return Finding("memory", "note", "the system does not say how much", "allow 4 GB or more")
    usable = min(there)
    shown = in_units(usable)
    if facts.memory_limit is not None and facts.memory_limit < facts.memory:
        shown += f" by its cgroup, of {in_units(facts.memory)}"
    if usable < TOO_LITTLE_MEMORY:
        return Finding("memory", "problem", shown, "ask for 4 GB or more (Slurm: --mem)")
    if usable < LITTLE_MEMORY:
        return Finding("memory", "note", shown, "4 GB or more are better; else set extract.workers: 0 or 1")
    return Finding("memory", "ok", shown)


def judge_files(facts: MachineFacts) -> Finding:
    """How many files may be open."""
    shown = f"{facts.files} may be open" if facts.files >= 0 else "any number may be open"
    if 0 <= facts.files < FEW_FILES:
        return Finding("open files", "note", shown, f"raise the limit: ulimit -n {FEW_FILES}")
    return Finding("open files", "ok", shown)
