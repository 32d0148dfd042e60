"""Disks: room and files left where store, run folder and temporary files lie, and how the store's behaves."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache_schema.files.disk.mounts import mount_of
from cache_schema.files.disk.probe import Semantics
from cache_schema.files.disk.room import existing, in_units
from extract.doctor.finding import Finding, Level

LITTLE_ROOM = 2 * 10**9
"""Bytes; a volume of a small backbone takes 0.2 MB, one with patches 60."""
TOO_LITTLE_ROOM = 10**8
FEW_INODES = 10_000
"""A volume takes four or five files and folders."""

LACKS: Mapping[str, tuple[Level, str]] = {
    "hard links": ("problem", "several writers need them: write the store elsewhere, copy it here sealed"),
    "rename over": ("problem", "a record could be read half-written: write the store elsewhere"),
    "rename of folders": ("problem", "two makers of a store could meet in one folder: write it elsewhere"),
    "swap of folders": (
        "note",
        "`cache pack` takes two steps here; what a kill between them leaves is repaired",
    ),
    "sync of folders": ("note", "a power failure may take the last commits; the same command goes on"),
    "locks": ("note", "unfinished files of killed jobs stay; `cache verify` names them"),
    "case": ("note", "a store's names do not mind; keep no run folders that differ in case alone"),
    "names": ("problem", "unfinished files of a store have such names: write it elsewhere"),
}
"""What a file system may lack -> how bad that is, and what to do."""


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What a place has left."""

    place: str
    above: str
    """The nearest folder that is there."""
    kind: str
    free: int
    """Bytes for us."""
    inodes: int | None
    """None where they are not counted."""
    writable: bool


def disk_facts(place: Path) -> DiskFacts:
    """Ask the file system that a place lies on, or would."""
    above = existing(place.expanduser().absolute())
    disk = os.statvfs(above)
    return DiskFacts(
        str(place),
        str(above),
        mount_of(above).kind,
        disk.f_bavail * disk.f_frsize,
        disk.f_favail if disk.f_files else None,
        above.is_dir() and os.access(above, os.W_OK | os.X_OK),
    )


def judge_disk(what: str, facts: DiskFacts) -> Finding:
    """Room, files and permission of one place."""
    left = "" if facts.inodes is None else f", {facts.inodes} files"
    shown = f"{facts.place}: {in_units(facts.free)}{left} free{f' ({facts.kind})' if facts.kind else ''}"
    if not facts.writable:
        return Finding(
            what, "problem", f"{shown}, not writable", f"no permission at {facts.above}: choose another place"
        )
    if facts.free < TOO_LITTLE_ROOM or facts.inodes == 0:
        return Finding(what, "problem", shown, "make room, or choose another place")
    if facts.free < LITTLE_ROOM:
        return Finding(what, "note", shown, "`slicecache plan` says how large the store gets")
    if facts.inodes is not None and facts.inodes < FEW_INODES:
        return Finding(
            what, "note", shown, "a volume takes up to five files; `cache pack` gathers a finished store"
        )
    if what == "store" and facts.kind in ("tmpfs", "ramfs"):
        return Finding(
            what, "note", shown, "this is memory, gone with the machine's next start: copy the store away"
        )
    return Finding(what, "ok", shown)


def judge_semantics(found: Semantics) -> list[Finding]:
    """How the store's file system behaves: one finding when all is well, else one per lack."""
    kind = found.mount.kind or "unknown kind"
    shared = "" if found.mount.local or not found.mount.kind else ", shared with other machines"
    lacking = [(question, reason) for question, reason in found.found.items() if reason]
    findings = [
        Finding(
            "file system", LACKS[question][0], f"{kind}{shared}: no {question} ({reason})", LACKS[question][1]
        )
        for question, reason in lacking
    ]
    if not 0 < found.time_ns < 10**9:
        advice = "a file corrected within a second may pass for the old one: extract --check-hashes"
        findings.append(
            Finding("file system", "note", f"{kind}: times are kept to the second or worse", advice)
        )
    if not findings:
        held = ", ".join(found.found)
        findings.append(Finding("file system", "ok", f"{kind}{shared}: {held}; times to {found.time_ns} ns"))
    return findings
