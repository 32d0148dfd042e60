"""Cores and memory that this process may use: what affinity, cgroups and the scheduler leave of them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
NO_LIMIT = 1 << 60
"""cgroups of version 1 say no limit by a number near the largest."""


def usable_cores(environment: Mapping[str, str] = os.environ, groups: Path = GROUPS, own: Path = OWN) -> int:
    """Cores that can really work at a time, at least one; on a cluster node fewer than there are."""
    limits = (*quotas(groups, own), allotted(environment))
    return max(1, int(min([bound_cores(), *(n for n in limits if n is not None)])))


def bound_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def allotted(environment: Mapping[str, str]) -> int | None:
    """Cores that Slurm gave to each task, which not every cluster enforces; None outside its jobs."""
    return whole(environment.get("SLURM_CPUS_PER_TASK"))


def whole(text: str | None) -> int | None:
    """A number of the environment above 0, if it is one."""
    return int(text) if text is not None and text.isdecimal() and int(text) else None


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
