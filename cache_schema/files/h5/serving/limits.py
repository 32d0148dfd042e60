"""What a process may take that opens one HDF5 file; the system ends it where HDF5 does not come to an end.

The limits are this process's own: it is made for one question, and gone behind it.
"""

import ctypes
import os
import signal
import sys

if sys.platform != "win32":
    import resource  # here and not where it is needed: every copy would import it again

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

MEMORY_BYTES = 1 << 30
"""Beyond what the process has when it begins, and beyond the numbers that it is to give."""

PIPE_BYTES = 1 << 20
"""A volume goes through in a few dozen steps and not in hundreds."""


def limit_processor(seconds: float) -> None:
    """End this process (by SIGXCPU) when it has computed for so long; waiting for a disk does not count."""
    if sys.platform == "win32":
        return
    soft, hard = max(1, round(seconds)), resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def limit_memory(more: int = 0) -> None:
    """Let this process take no more than `MEMORY_BYTES` and `more`, where the system says what it has."""
    if sys.platform == "win32":
        return
    try:
        with open("/proc/self/statm") as file:
            wanted = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES + more
    except OSError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def no_core() -> None:
    """Leave no memory image behind when HDF5 ends this process."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def end_with_parent() -> None:
    """Be ended by the system when the parent is, where it can."""
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def widen(pipe: int) -> None:
    """Let more of an answer lie in a pipe at a time, where the system lets one say so."""
    if sys.platform == "linux":
        import fcntl

        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            return
