"""How much memory stage two may fill with tokens, and what it says before it does."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregate.bags.bags import Bags, bags_bytes, lazy_bags, read_bags
from aggregate.bags.beside import NOTHING, Beside
from cache_schema.common.text.counts import counted
from cache_schema.store.reader import StoreReader, VolumeEntry

MEMORY_SHARE = 0.5
"""Of the machine's memory; the other half is for training itself and for everybody else."""
TOLD = 0.1
"""Of what is allowed: less is nobody's concern at a terminal."""
CGROUP = Path("/sys/fs/cgroup/memory.max")
"""The limit of a container or a job, which is often far below the machine's memory."""


def open_bags(
    store: StoreReader,
    tokens: str,
    entries: Sequence[VolumeEntry],
    bag: NDArray[np.int64],
    memory_gib: float | None = None,
    beside: Beside = NOTHING,
) -> Bags:
    """A cohort's bags: in memory if they fit the budget, else read by blocks while training.

    The bytes needed go to the log before anything is read, and to standard error where they are many.

    Args:
        store: The open store.
        tokens: The array that is read.
        entries: Volumes in the order of the bags.
        bag: The bag of every entry (entry,).
        memory_gib: What tokens may take; by default half of the memory.
        beside: Other stores that `tokens` names arrays of.
    """
    needed = bags_bytes(entries, store.header, tokens, bag, beside)
    budget = memory_budget(memory_gib)
    fits = needed <= budget
    sentence = (
        f"reading {tokens} of {counted(len(entries), 'volume')} takes {needed / 2**30:.3g} GiB of the "
        f"{budget / 2**30:.3g} GiB allowed (aggregate.memory_gib): "
        + ("all in memory" if fits else "too much, so bags are read by blocks, which is slower")
    )
    logging.getLogger("slicecache").info(sentence)
    if needed > TOLD * budget:
        print(sentence, file=sys.stderr)
    if fits:
        return read_bags(store, entries, tokens, bag=bag, beside=beside)
    # Half of the budget for volumes that stay; batches and the head's own tensors come beside them.
    return lazy_bags(store, entries, tokens, bag=bag, budget=budget // 2, beside=beside)


def memory_budget(gib: float | None) -> int:
    """Bytes that tokens may take: as told, or a share of the machine's (or the container's) memory."""
    return int(MEMORY_SHARE * machine_memory()) if gib is None else int(gib * 2**30)


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container that this runs in."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = CGROUP.read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdecimal() else machine
