"""Whether a batch, as a whole, is one that a cohort drawn like the training would give."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from aggregate.common.arrays import Floats, Ints
from aggregate.predict.familiarity import LEVEL

SURE = 0.01
"""Below this p a batch is said to be another one."""


def flags_p(flagged: int, n: int, n_training: int) -> float:
    """Chance of at least so many flags among participants drawn as the training was.

    A binomial test would take the rate for known. It is held against the same few participants for everybody,
    so that the number of flags is beta-binomial (Vovk, Machine Learning 2013).

    Args:
        flagged: Participants.
        n: Participants.
        n_training: Participants of the training.
    """
    at_most = int(np.floor(LEVEL * (n_training + 1) + 1e-9))
    if not at_most:
        return 1.0
    return float(stats.betabinom.sf(flagged - 1, n, at_most, n_training + 1 - at_most))


def expected_share(n_training: int) -> float:
    """What share is flagged in a cohort drawn alike: the largest that so many participants allow."""
    return float(np.floor(LEVEL * (n_training + 1) + 1e-9) / (n_training + 1))


def score_of(logits: Floats) -> Floats:
    """What is compared of a volume's logits (row, class): the difference of two, or how far the first leads.

    Of more classes it says how sure a model is, and not of what; of a number it is that.
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    if logits.shape[1] == 2:
        return np.asarray(logits[:, 1] - logits[:, 0])
    ordered = np.sort(logits, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def assigned_members(n: int, counts: Sequence[int]) -> Ints:
    """A member for every participant, in proportion to how many each scored out-of-fold.

    The mean over members spreads less than any of them, so it cannot be held against out-of-fold scores.

    Args:
        n: Participants.
        counts: Out-of-fold scores by member.
    """
    pool = np.repeat(np.arange(len(counts)), counts)
    even = pool[np.floor((np.arange(n) + 0.5) * len(pool) / n).astype(np.int64)]
    return np.random.Generator(np.random.PCG64(0)).permutation(even)


def scores_p(ours: Floats, trained: Floats) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of two samples of scores, and its p."""
    found = stats.ks_2samp(ours, trained)
    return float(found.statistic), float(found.pvalue)
