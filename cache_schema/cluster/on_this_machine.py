"""What dask runs first in a worker on this machine, which hears the Ctrl-C that is meant for the command."""

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the command, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
