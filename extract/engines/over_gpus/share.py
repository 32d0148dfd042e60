"""One GPU's process: it opens the stores itself, obeys their header, and says what comes of every volume.

To it its GPU is the only one.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from cache_schema.common.custom import permit_targets
from cache_schema.common.terminal.progress import VolumeCounter
from cache_schema.format.identity import VolumeKey
from extract.engines.decode import end_with
from extract.engines.device import VISIBLE
from extract.engines.left import StoreLeft, embed_here
from extract.engines.local import EngineTally
from extract.engines.pending import Pending
from extract.engines.station import BuiltBackbones, open_station
from extract.planning.config import ExtractSection
from extract.planning.plan import PlannedVolume

FAILED = 0
"""Told in place of a volume's slices, of which it has at least one."""


@dataclass(frozen=True, slots=True)
class StoreShare:
    """What one process does for one store."""

    place: int
    """Of the store, among those of the run."""
    section: ExtractSection
    location: str
    longest: int
    """Most slices of a volume, in whosever share."""
    volumes: tuple[PlannedVolume, ...]
    replacing: frozenset[VolumeKey]


@dataclass(frozen=True, slots=True)
class GpuShare:
    """What one process does."""

    device: str
    """As `CUDA_VISIBLE_DEVICES` names it."""
    stores: tuple[StoreShare, ...]
    base: Path
    """Folder that relative paths start from."""
    shard: str
    """Which share of the plan all of them do, for heartbeats."""
    beside: int
    """Processes, this one counted."""


def embed_share(share: GpuShare, pipe: Connection) -> None:
    """The process: say what comes of every volume, then what came of all, and before it what went wrong."""
    os.environ[VISIBLE] = share.device  # before torch looks for GPUs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's, which ends this one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // share.beside))
    tallies = [EngineTally() for _ in share.stores]
    try:
        _embed(share, tallies, _Telling(pipe))
    except Exception as error:
        pipe.send(_sendable(error))
    pipe.send([tally.at_rest() for tally in tallies])
    pipe.close()


def _embed(share: GpuShare, tallies: Sequence[EngineTally], progress: VolumeCounter) -> None:
    """Open the stores, and do what is to be done for them."""
    for store in share.stores:
        permit_targets(store.section.model_dump(mode="json"), share.base)
    built, lefts = BuiltBackbones(), []
    for store, tally in zip(share.stores, tallies, strict=True):
        station = open_station(
            store.section, share.base, store.location, (), longest=store.longest, built=built
        )
        pending = Pending(store.volumes, 0, store.replacing, (), ())
        lefts.append(StoreLeft(pending, station, tally))
    try:
        embed_here(lefts, progress, share.shard, share.beside)
    finally:
        for left in lefts:
            left.tally.notes += left.station.notes


class _Telling:
    """Tells the command of every volume; writers of several stores do so from threads of their own."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.lock = pipe, threading.Lock()

    def done(self, slices: int) -> None:
        """One volume is committed."""
        with self.lock, suppress(BrokenPipeError):
            self.pipe.send(slices)

    def failed(self) -> None:
        """One volume could not be used."""
        self.done(FAILED)


def _sendable(error: Exception) -> Exception:
    """The error itself, or its words where it does not travel."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
