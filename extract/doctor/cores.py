"""Cores and memory: those that are there, and those that the scheduler or a container lets us use."""

import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cache_schema.files.disk.room import in_units
from extract.doctor.finding import Finding

GIBIBYTE = 2**30
LITTLE_MEMORY = 4 * GIBIBYTE
"""torch and a backbone take one or two, each decoding process a volume's few copies."""
TOO_LITTLE_MEMORY = 3 * GIBIBYTE // 2
FEW_FILES = 1024
NO_LIMIT = 1 << 60
"""cgroups of version 1 say no limit by a number near the largest."""


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
    groups: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
) -> MachineFacts:
    """Look at this machine and process."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = os.cpu_count() or 1
    return MachineFacts(
        cores,
        len(affinity(0)) if affinity else cores,
        min(quotas(groups, own), default=None),
        _whole(environment.get("SLURM_CPUS_PER_TASK")),
        _whole(environment.get("OMP_NUM_THREADS")),
        "SLURM_JOB_ID" in environment,
        _memory(),
        min(memory_limits(groups, own), default=None),
        resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _whole(text: str | None) -> int | None:
    """A number of the environment above 0, if it is one."""
    return int(text) if text is not None and text.isdecimal() and int(text) else None


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def own_groups(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, and of those above; of both versions."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = groups / controllers if controllers else groups
        top = top if top.is_dir() else groups / controller
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield top.joinpath(*parts[:depth])


def quotas(groups: Path, own: Path) -> Iterator[float]:
    """Cores that the groups allow at a time."""
    for group in own_groups(groups, own, "cpu"):
        words = _words(group / "cpu.max") or [
            *_words(group / "cpu.cfs_quota_us"),
            *_words(group / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            yield int(words[0]) / int(words[1])


def memory_limits(groups: Path, own: Path) -> Iterator[int]:
    """Bytes that the groups allow."""
    for group in own_groups(groups, own, "memory"):
        for word in _words(group / "memory.max") or _words(group / "memory.limit_in_bytes"):
            if word.isdecimal() and int(word) < NO_LIMIT:
                yield int(word)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def judge_cores(facts: MachineFacts) -> Finding:
    """Cores: fewer than are there is usual on a cluster, fewer than we would start processes for is not."""
    shown = f"{facts.usable:g} of {facts.cores} may be used"
    limits = {"bound": facts.bound, "cgroup": facts.quota, "SLURM_CPUS_PER_TASK": facts.slurm}
    said = [f"{name} {n:g}" for name, n in limits.items() if n is not None and n < facts.cores]
    shown += f" ({', '.join(said)})" if said else ""
    if facts.threads is not None and facts.threads > facts.usable:
        shown += f", OMP_NUM_THREADS={facts.threads}"
        return Finding("cores", "note", shown, f"set OMP_NUM_THREADS to {max(1, int(facts.usable))} or less")
    if facts.usable < facts.bound:
        n = max(1, int(facts.usable))
        advice = f"processes are started for {facts.bound}: set extract.workers: {n} and OMP_NUM_THREADS={n}"
        return Finding("cores", "note", shown, advice)
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
