"""What a head makes of a small difference in its tokens: training must not enlarge it without bound."""

import numpy as np
import pytest
import torch

from aggregate.bags.bags import Bags
from aggregate.heads.attention import AttentionSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.runs import RunSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import apply_head, train_stacked

pytestmark = pytest.mark.numerics
TRAIN, TEST, SLICES, DIM, NOISE = 36, 20, 12, 48, 1e-4


def enlarged(seed: int, **train: float) -> float:
    """Differences of a test bag's logit by theirs of the tokens, both in standard deviations."""
    generator = np.random.default_rng(seed)
    y = np.arange(TRAIN + TEST) % 2
    own = 0.5 * generator.normal(0, 1, (len(y), 1, DIM)) * (np.arange(DIM) < 6)
    x = generator.normal(0, 1, (len(y), SLICES, DIM)) + own
    x[:, :, 0] += y[:, None]
    noisy = x * (1 + NOISE * generator.normal(0, 1, x.shape))
    logits = [logits_of(each, y, **train) for each in (x, noisy)]
    return float(np.sqrt(np.mean((logits[1] - logits[0]) ** 2)) / logits[0].std() / NOISE)


def logits_of(x: np.ndarray, y: np.ndarray, **train: float) -> np.ndarray:
    """Of the bags behind the training part."""
    keep = torch.ones(x.shape[:2], dtype=torch.bool)
    bags, head = Bags(torch.tensor(x), keep, torch.zeros_like(keep, dtype=torch.float64)), AttentionSpec()
    rows, none = np.arange(TRAIN), np.zeros(0, dtype=np.int64)
    run = RunSpec("c", 0, 0, 0, head, LossSpec(), TrainSpec(**train), rows, none)
    (found,) = train_stacked(bags, torch.tensor(y), torch.ones(len(y)), 2, [run], torch.float64)
    logits = apply_head(head.build(DIM, 2), [found.state], bags).logits[0][TRAIN:]
    return (logits[:, 1] - logits[:, 0]).numpy()


def test_training_hardly_enlarges_what_differs_between_tokens():
    assert max(enlarged(seed) for seed in range(8)) < 7
    assert max(enlarged(seed, epsilon=1e-8) for seed in range(8)) > 7
