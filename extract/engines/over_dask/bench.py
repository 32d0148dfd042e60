"""What a worker's process keeps from volume to volume: each store, and a backbone on the device for it.

Its threads share them: while one embeds, the others read the volumes that come next.
"""

import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from cache_schema.store.writer import StoreWriter
from cache_schema.workers.heart import Heart, WorkDone
from extract.engines.device import VISIBLE, visible_gpus, worker_of
from extract.engines.embed import Embedder
from extract.engines.pending import failure_of, note_failure
from extract.engines.waiting import with_waiting
from extract.planning.plan import PlannedVolume
from extract.slices.prepare import PreparedVolume
from extract.slices.preprocessing import Preprocessing


@dataclass(slots=True)
class Bench:
    """One process's place of work for one store of a run."""

    preprocessing: Preprocessing
    embedder: Embedder
    writer: StoreWriter
    volumes: int
    """Of the whole run, of which this process takes its part."""
    device: threading.Lock
    """Held while the device works, for whichever store."""
    _store: threading.Lock = field(default_factory=threading.Lock)
    _committed: int = 0
    _failed: int = 0
    _slices: int = 0
    _busy: float = 0.0
    _since: float | None = None
    """When the first volume was ready to be embedded."""
    _free: float | None = None
    """When the last one was embedded."""

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

    def slices_of(self, planned: PlannedVolume) -> int | None:
        """Of a volume that a worker which was lost meanwhile has committed."""
        with self._store:
            there = self.writer.record(planned.candidate.key)
        return None if there is None else len(there.slices.index)

    def embed(self, prepared: PreparedVolume, again: bool) -> int:
        """Embed and commit a volume; its slices.

        Raises:
            VolumeError: With what is wrong with the volume.
            ParticipantWithdrawn: If its participant was withdrawn.
        """
        with self.device:
            began = time.perf_counter()
            self._since = self._since or began
            waited = 0.0 if self._free is None else began - self._free
            (made,) = [*self.embedder.add(with_waiting(prepared, waited)), *self.embedder.flush()]
            self._free = time.perf_counter()
            self._busy += self._free - began
        preview, slices = made.preview(), len(made.draft.slices.index)
        with self._store:
            if again:
                self.writer.remove_record(made.draft.key)
            self.writer.commit(made.draft, made.arrays, preview)
            self._committed += 1
            self._slices += slices
        return slices

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
    named = visible_gpus()
    if divide_gpus and len(named) > 1:
        os.environ[VISIBLE] = one_of(named, worker)


def one_of(devices: Sequence[str], worker: str) -> str:
    """The device of a worker: the next one for the next number."""
    number = re.search(r"\d+$", worker)
    return devices[int(number[0]) % len(devices) if number else 0]
