"""How long one waits for workers, and what for."""

import sys
import time
from typing import Any

from cache_schema.cluster.connect import Workers
from cache_schema.cluster.jobs import refusals_of
from cache_schema.common.errors import MachineError

PATIENCE_SECONDS = 30.0


class Patience:
    """Waits for workers, and says so: a queue may be long, and a job that is refused never comes."""

    def __init__(self, workers: Workers) -> None:
        """Begin to wait."""
        self._workers, self._since, self._said = workers, time.monotonic(), False

    def look(self) -> None:
        """Whether anybody works.

        Raises:
            MachineError: If nobody does, and the batch system has refused a job.
        """
        client: Any = self._workers.client
        if client.nthreads():
            self._since, self._said = time.monotonic(), False
            return
        if refusals := refusals_of(client.cluster):
            raise MachineError(f"the batch system took no job: {refusals[0]}")
        if not self._said and time.monotonic() - self._since > PATIENCE_SECONDS:
            self._said = True
            print("waiting: the dask scheduler has no worker yet", file=sys.stderr, flush=True)
