"""Which file system a path lies on, as the list of mounts says (Linux)."""

import os
import re
from pathlib import Path
from typing import NamedTuple

LOCAL = ("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "reiserfs", "tmpfs", "xfs", "zfs")
"""File systems that one kernel mounts at a time, so that it knows all locks of whoever uses them."""

OCTAL = re.compile(r"\\(\d{3})")
"""How the list of mounts writes spaces."""


class Mount(NamedTuple):
    """A file system where it is mounted."""

    point: str
    kind: str
    """`ext4`, `nfs4`, `lustre`, ...; empty where nothing says it (macOS)."""

    @property
    def local(self) -> bool:
        """Whether no other machine can write to it at the same time."""
        return self.kind in LOCAL


def mount_of(path: str | Path) -> Mount:
    """The file system that a path lies on, whether it is there or not."""
    found = Mount("", "")
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return found
    real = os.path.realpath(path)
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = OCTAL.sub(lambda code: chr(int(code[1], 8)), before.split(" ")[4])
        # Of two at one point the later one is on top.
        if len(point) >= len(found.point) and f"{real}/".startswith(f"{point.rstrip('/')}/"):
            found = Mount(point, after.split(" ")[0])
    return found
