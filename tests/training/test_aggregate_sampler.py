"""Batches: seeded, complete, balanced where asked, never a row twice."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate.training.feeding.sampler import (
    NO_ROW,
    balanced_batches,
    init_seed,
    n_steps,
    order_stream,
    plain_batches,
)


def stream(seed=0, repeat=0, fold=0, epoch=0):
    return order_stream(seed, repeat, fold, epoch)


@given(n=st.integers(1, 60), size=st.integers(1, 17), seed=st.integers(0, 5))
@settings(deadline=None)
def test_plain_batches_hold_every_row_once(n, size, seed):
    rows = np.arange(n) * 3 + 2
    batches = plain_batches(rows, size, stream(seed))
    assert batches.shape == (n_steps(n, size), size)
    assert sorted(batches[batches != NO_ROW]) == sorted(rows)
    assert (batches.ravel()[:n] != NO_ROW).all()


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    extra=st.integers(0, 9),
    seed=st.integers(0, 5),
)
@settings(deadline=None)
def test_balanced_batches(counts, extra, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = np.random.default_rng(seed).permutation(len(labels)) + 7
    size = 2 * len(counts) + extra
    batches = balanced_batches(rows, labels, size, stream(seed))
    assert batches.shape == (n_steps(len(rows), size), size)
    label_of = dict(zip(rows.tolist(), labels.tolist(), strict=True))
    share = size // len(counts)
    drawn = np.zeros(len(counts), dtype=int)
    for batch in batches:
        real = batch[batch != NO_ROW].tolist()
        assert len(set(real)) == len(real)
        found = np.bincount([label_of[row] for row in real], minlength=len(counts))
        assert (found >= np.minimum(share, counts)).all()
        assert (found <= share + 1).all()
        assert (found >= np.minimum(2, counts)).all()
        drawn += found
    # Rows come round evenly: none is drawn twice more often than another of its label.
    for label, count in enumerate(counts):
        times = [np.count_nonzero(batches == row) for row in rows[labels == label]]
        assert max(times) - min(times) <= 1, (label, count)


def test_remainder_goes_round_the_labels():
    labels = np.repeat([0, 1, 2], 40)
    batches = balanced_batches(np.arange(120), labels, 8, stream())
    counts = np.array([np.bincount(labels[batch], minlength=3) for batch in batches])
    assert (counts.sum(1) == 8).all()
    assert np.ptp(counts.sum(0)) <= 1


def test_order_depends_on_seed_repeat_fold_and_epoch_alone():
    rows = np.arange(31)
    first = plain_batches(rows, 8, stream())
    assert np.array_equal(first, plain_batches(rows, 8, stream()))
    for changed in ({"seed": 1}, {"repeat": 1}, {"fold": 1}, {"epoch": 1}):
        assert not np.array_equal(first, plain_batches(rows, 8, stream(**changed)))


def test_init_seeds_differ():
    seeds = {init_seed(seed, repeat, fold) for seed in range(4) for repeat in range(4) for fold in range(4)}
    assert len(seeds) == 64


def test_order_is_the_same_on_every_machine():
    assert plain_batches(np.arange(7), 4, stream(1, 2, 3, 4)).tolist() == [[3, 1, 5, 4], [6, 0, 2, -1]]
