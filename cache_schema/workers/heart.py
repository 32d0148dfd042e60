"""The heart of a worker: says in the store, every few seconds, that it lives and what it has done.

It is a convenience and never in the way: it asks the work instead of being told, speaks from a thread of
its own without waiting for the disk, and whatever goes wrong with it is one note and no error. In a sealed
store it is silent, since what is complete is not to be touched by somebody who found nothing to do.
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

from cache_schema.files.locate import open_objects
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.files.remote.objects import RemoteObjects
from cache_schema.format.canonical import canonical_json
from cache_schema.format.heartbeat import Heartbeat
from cache_schema.format.layout import SEALED_INDEX
from cache_schema.workers.heard import sweep_old
from cache_schema.workers.rate import Rate

BEAT_SECONDS = 15.0
REMOTE_BEAT_SECONDS = 60.0
"""Behind a URL, where each request may be paid for."""
FIRST_SECONDS = 1.0
"""From which pauses double to the full one, so that a short work is seen, too."""
LAST_SECONDS = 5.0
"""That the last beat may take; a file system that hangs does not hold up the end of the work."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What stays the same as long as a worker lives."""

    device: str = ""
    """Kind of what embeds: `cpu`, `cuda`, `mps`."""
    device_name: str = ""
    compute_dtype: str = ""
    processor: str = ""
    shard: str = ""
    """`I/N`; empty for a worker that takes whatever is left."""
    volumes: int = 0
    """That it was given."""


@dataclass(frozen=True, slots=True)
class WorkDone:
    """What a worker has done so far."""

    committed: int
    failed: int
    slices: int
    """Committed."""
    busy_seconds: float
    waiting_seconds: float
    """In which the device had nothing to do, because the next image was not decoded."""


class Heart:
    """Beats from the beginning of a `with` block to its end."""

    def __init__(
        self, location: str, worker: Worker, done: Callable[[], WorkDone], every: float | None = None
    ) -> None:
        """Nothing beats before `with`.

        Args:
            location: The store.
            worker: Who this is.
            done: Asked at each beat, from another thread.
            every: Seconds between beats; None takes what suits the place.
        """
        self.notes: list[str] = []
        """Why it could not beat, once."""
        self._location, self._worker, self._done, self._every = location, worker, done, every
        self._state: Literal["running", "done", "stopped", "failed"] = "running"
        self._started = datetime.now(UTC)
        self._rate = Rate(self._started)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="slicecache-heart", daemon=True)

    def __enter__(self) -> Self:
        with suppress(RuntimeError):  # no thread is to be had
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopped = kind is not None and not issubclass(kind, Exception)  # Ctrl-C, SystemExit
        self._state = "done" if kind is None else "stopped" if stopped else "failed"
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(LAST_SECONDS)

    def _beat_on(self) -> None:
        """Until the block ends; what goes wrong is noted once, and tried again at the next beat."""
        objects: Objects | None = None
        pause = FIRST_SECONDS
        while True:
            over = self._over.is_set()
            try:
                if objects is None:
                    objects = _quick_objects(self._location)
                    self._beat(objects)
                    sweep_old(objects)
                else:
                    self._beat(objects)
            except Exception as error:  # a heartbeat is worth no volume
                if not self.notes:
                    self.notes.append(f"`slicecache status` does not see this worker: {error}")
            if over:
                return
            pause = min(2 * pause, self._every or _pace(objects))
            self._over.wait(pause)

    def _beat(self, objects: Objects) -> None:
        """Put one heartbeat."""
        opened = objects.opened(SEALED_INDEX, parts=True)
        if opened is not None:
            with opened:
                return
        beat = self.now()
        objects.put(beat.name, canonical_json(beat.model_dump(mode="json")))

    def now(self) -> Heartbeat:
        """What it would say at this moment."""
        now, done, worker = datetime.now(UTC), self._done(), self._worker
        return Heartbeat(
            host=socket.gethostname()[:200],
            pid=os.getpid(),
            job=scheduler_job(),
            shard=worker.shard,
            processor=worker.processor[:200],
            device=worker.device,
            device_name=worker.device_name[:200],
            compute_dtype=worker.compute_dtype,
            started=self._started,
            beat=now,
            state=self._state,
            volumes=worker.volumes,
            committed=done.committed,
            failed=done.failed,
            slices=done.slices,
            slices_per_second=self._rate.at(now, done.slices),
            busy_seconds=max(0.0, done.busy_seconds),
            waiting_seconds=max(0.0, done.waiting_seconds),
        )


def _quick_objects(location: str) -> Objects:
    """A store's objects, of which none is waited for; not shared with the writer's thread."""
    objects = open_objects(location)
    if objects is None:
        raise FileNotFoundError(f"{location!r} is gone")
    if isinstance(objects, LocalObjects):
        objects.durable = False
    return objects


def _pace(objects: Objects | None) -> float:
    """Seconds between beats."""
    return REMOTE_BEAT_SECONDS if isinstance(objects, RemoteObjects) else BEAT_SECONDS


def scheduler_job() -> str:
    """What the scheduler calls this job, e.g. `slurm 1234_5`; empty without one."""
    of = os.environ.get
    if array := of("SLURM_ARRAY_JOB_ID"):
        return f"slurm {array}_{of('SLURM_ARRAY_TASK_ID', '')}"[:200]
    known = (("slurm", "SLURM_JOB_ID"), ("pbs", "PBS_JOBID"), ("lsf", "LSB_JOBID"), ("sge", "JOB_ID"))
    return next((f"{name} {job}"[:200] for name, variable in known if (job := of(variable))), "")
