"""Telling an unfinished write from the leftover of a process that is gone, without locks."""

import os
import secrets
import socket
import time

GRACE_SECONDS = 60.0
"""A dead process's leftovers are not swept younger than this: its number may live in a sibling container."""
STALE_SECONDS = 86_400.0
"""Leftovers whose process cannot be asked (another host) are swept beyond this age."""


def owner_token() -> str:
    """A fresh ending that tells whose a name is: `~<host>~<process>~<random>`."""
    return f"~{socket.gethostname()}~{os.getpid()}~{secrets.token_hex(6)}"


def is_leftover(path: str) -> bool:
    """Whether an unfinished file or folder belongs to a process that is gone.

    On this host its process must be gone and the thing a minute old; on another host, where nobody
    can be asked, it must be a day old.
    """
    try:
        age = time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return False
    if age > STALE_SECONDS:
        return True
    return age > GRACE_SECONDS and is_orphan(path)


def is_orphan(path: str) -> bool:
    """Whether the process that an unfinished thing is named after ran on this host and is gone."""
    host, process, _ = ["", "", "", *os.path.basename(path).split("~")][-3:]
    return host == socket.gethostname() and process.isdigit() and not _alive(int(process))


def _alive(process: int) -> bool:
    """Whether a process of this host runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
