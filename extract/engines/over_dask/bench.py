"""What a worker's process keeps from volume to volume: a backbone on its device, and the store.

Its threads share them: while one embeds, the others read the volumes that come next.
"""

import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from cache_schema.common.errors import VolumeError
from cache_schema.store.writer import StoreWriter
from cache_schema.workers.heart import Heart, WorkDone
from extract.engines.decode import attempt
from extract.engines.device import worker_of
from extract.engines.embed import Embedder
from extract.engines.pending import failure_of, note_failure
from extract.planning.plan import PlannedVolume
from extract.slices.preprocessing import Preprocessing

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(slots=True)
class Bench:
    """One process's place of work for one run."""

    run: str
    preprocessing: Preprocessing
    embedder: Embedder
    writer: StoreWriter
    volumes: int
    """Of the whole run, of which this process takes its part."""
    _device: threading.Lock = field(default_factory=threading.Lock)
    _store: threading.Lock = field(default_factory=threading.Lock)
    _committed: int = 0
    _failed: int = 0
    _slices: int = 0
    _busy: float = 0.0
    _since: float | None = None
    """When the first volume was ready to be embedded."""

    def heart(self) -> Heart:
        """What tells `slicecache status` of this process."""
        compute = self.writer.header.numerics.compute_dtype
        worker = worker_of(self.embedder.device, compute, self.volumes)
        return Heart(self.writer.location, worker, self.so_far)

    def so_far(self) -> WorkDone:
        """What this process has done."""
        passed = 0.0 if self._since is None else time.perf_counter() - self._since
        waited = max(0.0, passed - self._busy)
        return WorkDone(self._committed, self._failed, self._slices, self._busy, waited)

    def embed(self, planned: PlannedVolume, again: bool) -> int:
        """Embed and commit a volume, unless a worker that was lost meanwhile has done it; its slices.

        Raises:
            VolumeError: With what is wrong with the volume.
            ParticipantWithdrawn: If its participant was withdrawn.
        """
        key = planned.candidate.key
        with self._store:
            there = None if again else self.writer.record(key)
        if there is not None:
            return len(there.slices.index)
        (prepared,) = attempt(planned.candidate, (self.preprocessing,))
        if isinstance(prepared, str):
            raise VolumeError(prepared)
        with self._device:
            began = time.perf_counter()
            self._since = self._since or began
            ((draft, arrays, preview),) = [*self.embedder.add(prepared), *self.embedder.flush()]
            self._busy += time.perf_counter() - began
        with self._store:
            if again:
                self.writer.remove_record(key)
            self.writer.commit(draft, arrays, preview)
            self._committed += 1
            self._slices += len(draft.slices.index)
        return len(draft.slices.index)

    def note(self, planned: PlannedVolume, reason: str) -> None:
        """Write down why a volume failed.

        Raises:
            ParticipantWithdrawn: If its participant was withdrawn.
        """
        with self._store:
            note_failure(self.writer, failure_of(planned.candidate, reason))
            self._failed += 1


def take_part(worker: str, threads: int, divide_gpus: bool) -> None:
    """Take this worker's share of its machine: one of the visible GPUs, and the threads that dask gave it.

    Before torch has looked at any GPU: afterwards it would not notice.

    Args:
        worker: Its name, which ends with its number among the workers of a machine or a job.
        threads: That dask counts for it; dask itself starts workers with a single one for products.
        divide_gpus: Whether nobody else has divided them.
    """
    torch.set_num_threads(max(1, threads))
    visible = os.environ.get(VISIBLE)
    named = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    if divide_gpus and len(named) > 1:
        os.environ[VISIBLE] = one_of(named, worker)


def one_of(devices: Sequence[str], worker: str) -> str:
    """The device of a worker: the next one for the next number."""
    number = re.search(r"\d+$", worker)
    return devices[int(number[0]) % len(devices) if number else 0]
