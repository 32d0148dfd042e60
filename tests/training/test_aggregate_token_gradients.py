"""Every head can be asked for gradients of its tokens, though no training does."""

import pytest
import torch

from aggregate.heads.base import HeadBase
from aggregate.heads.registry import HEADS

DIM, STEP = 12, 1e-6
EXAMPLES = [spec for kind in HEADS for spec in kind.examples()]


def name_of(spec: HeadBase) -> str:
    return f"{spec.name} {len(spec.embedding)}"


@pytest.mark.parametrize("spec", EXAMPLES, ids=name_of)
def test_tokens_have_the_gradient_that_small_steps_show(spec: HeadBase) -> None:
    head = spec.build(DIM, 3)
    parameters = {name: 2 * value for name, value in head.init([5], torch.float64).items()}
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 5, DIM, generator=generator, dtype=torch.float64)
    way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    keep = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    height = torch.tensor([[8.0, 6, 4, 2, 0], [9, 5, 1, 0, 0]], dtype=torch.float64)
    weight = torch.tensor([1.0, -2, 0.5], dtype=torch.float64)

    def score(tokens: torch.Tensor) -> torch.Tensor:
        return (head(parameters, tokens, keep, height).logits[0] @ weight).sum()

    asked = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(score(asked), asked)
    slope = (score(x + STEP * way) - score(x - STEP * way)) / (2 * STEP)
    assert float((found * way).sum()) == pytest.approx(float(slope), rel=1e-6, abs=1e-8)
    assert not found[1, 3:].any()
    assert found.any() or spec.embedding  # where every unit is off, nothing passes
