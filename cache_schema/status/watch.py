"""Looking again and again: redrawn on a terminal, a line per look elsewhere."""

import os
import sys
import time

from cache_schema.status.look import Observer, Status
from cache_schema.status.status_text import one_line, status_text

REST = 4.0
"""Between two looks it rests so many times as long as a look took: nobody's file server is to suffer."""
HOME_AND_CLEAR = "\x1b[H\x1b[2J"


def watch(observer: Observer, every: float) -> Status:
    """Show a store until nothing is left to do; the last look.

    Args:
        observer: Looks.
        every: Seconds between looks, at least.

    Raises:
        KeyboardInterrupt: When whoever watches has seen enough.
    """
    drawn = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    while True:
        started = time.monotonic()
        status = observer.look()
        if drawn:
            print(f"{HOME_AND_CLEAR}{status_text(status)}", flush=True)
        else:
            print(one_line(status), flush=True)
        if status.finished:
            return status
        time.sleep(max(every, REST * (time.monotonic() - started)))
