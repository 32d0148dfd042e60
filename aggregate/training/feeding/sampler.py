"""Which bags make which batch: a stream per (seed, repeat, fold), drawn anew for each epoch.

The configuration has no part in it: runs that differ in head or loss alone see the same batches.
"""

import numpy as np
from numpy.typing import NDArray

BagRows = NDArray[np.int64]
NO_ROW = -1
"""Fills batches that are not full."""

_INIT, _ORDER, _NOISE = 0, 1, 2


def init_seed(seed: int, repeat: int, fold: int) -> int:
    """The seed of a run's first weights."""
    sequence = np.random.SeedSequence([seed, repeat, fold, _INIT])
    return int(sequence.generate_state(1, np.uint64)[0])


def noise_seed(seed: int, repeat: int, fold: int, step: int) -> int:
    """The seed of what a head draws in one step of a run (dropout)."""
    sequence = np.random.SeedSequence([seed, repeat, fold, step, _NOISE])
    return int(sequence.generate_state(1, np.uint64)[0])


def order_stream(seed: int, repeat: int, fold: int, epoch: int) -> np.random.Generator:
    """The stream of one epoch's order, counted from 0; no epoch depends on the one before."""
    return np.random.Generator(np.random.PCG64([seed, repeat, fold, epoch, _ORDER]))


def n_steps(n_rows: int, batch_size: int) -> int:
    """Steps of one epoch; the last batch may be smaller."""
    return -(-n_rows // batch_size)


def plain_batches(rows: BagRows, batch_size: int, stream: np.random.Generator) -> BagRows:
    """Every row once in random order, (step, batch_size), the last batch filled with `NO_ROW`."""
    batches = np.full(n_steps(len(rows), batch_size) * batch_size, NO_ROW, dtype=np.int64)
    batches[: len(rows)] = stream.permutation(rows)
    return batches.reshape(-1, batch_size)


def balanced_batches(
    rows: BagRows, labels: NDArray[np.int64], batch_size: int, stream: np.random.Generator
) -> BagRows:
    """As many steps as `plain_batches`, each with equal shares of the labels and no row twice.

    A label's rows come in random order and over again when used up, so a rare label is seen more often.
    A label with fewer rows than its share leaves places empty. What does not divide goes round.

    Args:
        rows: Bags to draw from.
        labels: Their labels, same order.
        batch_size: At least twice the number of labels, so that each has two bags where it has any.
        stream: Source of the order.
    """
    pools = [_Cycle(rows[labels == label], stream) for label in np.unique(labels)]
    share, rest = divmod(batch_size, len(pools))
    batches = np.full((n_steps(len(rows), batch_size), batch_size), NO_ROW, dtype=np.int64)
    for step, batch in enumerate(batches):
        extra = [(index - step * rest) % len(pools) < rest for index in range(len(pools))]
        drawn = np.concatenate([pool.take(share + more) for pool, more in zip(pools, extra, strict=True)])
        batch[: len(drawn)] = drawn
    return batches


MOST_DRAWN = 2000
"""Bags of an epoch that are drawn with replacement, at most (MST's)."""


def drawn_batches(
    rows: BagRows, labels: NDArray[np.int64], batch_size: int, stream: np.random.Generator
) -> BagRows:
    """As many rows as there are, at most `MOST_DRAWN`, with replacement, every label with equal chance."""
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = 1 / counts[place]
    n = min(len(rows), MOST_DRAWN)
    batches = np.full(n_steps(n, batch_size) * batch_size, NO_ROW, dtype=np.int64)
    batches[:n] = stream.choice(rows, size=n, p=share / share.sum())
    return batches.reshape(-1, batch_size)


class _Cycle:
    """BagRows in random order, again and again, never twice in one take."""

    def __init__(self, rows: BagRows, stream: np.random.Generator) -> None:
        self.rows = rows
        self.stream = stream
        self.waiting = rows[:0]

    def take(self, n: int) -> BagRows:
        """The next n rows, or all of them if there are fewer."""
        n = min(n, len(self.rows))
        if len(self.waiting) < n:
            again = self.stream.permutation(self.rows)
            # BagRows still waiting go first and are moved to the end of the next round.
            repeated = np.isin(again, self.waiting)
            self.waiting = np.concatenate([self.waiting, again[~repeated], again[repeated]])
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        return taken
