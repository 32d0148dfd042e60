"""How far blocks of several threads are, and what they hand over."""

import threading
from collections.abc import Callable

from aggregate.training.runs import TrainedRun
from cache_schema.common.terminal.progress import Progress

Finished = Callable[[TrainedRun], None]


class Count:
    """Counts run-epochs for a progress bar and hands over finished runs, for blocks of several threads.

    An early stop counts what it saved as done.
    """

    def __init__(self, progress: Progress | None, total: int, finished: Finished | None = None) -> None:
        """Count up to `total`."""
        self.progress, self.finished, self.total, self.count = progress, finished, total, 0
        self.lock = threading.Lock()

    def add(self, epochs: int) -> None:
        """Say that so many more run-epochs are done."""
        with self.lock:
            # Runs that begin again in smaller blocks, for want of memory, count once.
            self.count = min(self.total, self.count + epochs)
            if self.progress is not None and epochs:
                self.progress(self.count, self.total)

    def hand_over(self, run: TrainedRun) -> None:
        """Say that a run is trained."""
        if self.finished is not None:
            with self.lock:
                self.finished(run)
