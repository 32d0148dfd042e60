"""The laws of a loss.

    from aggregate.testing.losses import check_loss
    check_loss(my_loss, options={"margin": 0.2})

scalar · bag order · padding (bags that are not kept do not count, nor slices) · few pairs (labels without a
pair, one bag: finite, with a working backward) · dead embedding, one slice (likewise) · gradient (finite
differences) · runs (stacked as alone) · precision.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from aggregate.losses.base import Attention, Batch, StackedLoss, TermSpec, attention_of
from aggregate.losses.custom import CustomLossSpec
from aggregate.testing.law import hold_equal
from cache_schema.common.custom import give
from cache_schema.common.errors import ConfigError
from cache_schema.common.law import LawError, hold

TRIAL_LABELS = (0, 1, 2, 0, 1, 0, 2, 1)
CLASSES, FEATURES, SLICES = 3, 5, 6
TRIAL_COUNTS = torch.tensor([[7.0, 2.0, 4.0]], dtype=torch.float64)
"""Training bags by label, of every run."""
EXACT, STACKED, SINGLE = 1e-9, 1e-10, 2e-3
"""Tolerances: of float64, of stacked runs, of float32."""
FEWEST_BAGS = {"one bag": (2,), "no two of one label": (0, 1, 2), "one label": (1, 1, 1)}


def check_loss(loss: Any, options: Mapping[str, Any] | None = None) -> None:
    """Hold a loss to the laws.

    Args:
        loss: A term's specification, a callable `(logits, embedding, y, keep)`, or the class of one.
        options: Of the callable, or with which the class is made.

    Returns:
        None, which says that every law was kept.

    Raises:
        LawError: At the first law that is not kept.
        ConfigError: If it is no loss at all, e.g. has weights of its own.

    Example:
        >>> sc.testing.check_loss(my_loss, options={"margin": 0.2})
    """
    spec = (
        loss if isinstance(loss, TermSpec) else CustomLossSpec(target=give(loss), options=dict(options or {}))
    )
    for law in LOSS_LAWS:
        law(lambda n: type(spec).stacked([spec] * n, TRIAL_COUNTS.expand(n, -1)))


MakeLoss = Callable[[int], StackedLoss]
"""The term of so many runs."""


def _batch(labels: tuple[int, ...] = TRIAL_LABELS, runs: int = 1) -> Batch:
    """Bags of these labels, all kept."""
    generator = torch.Generator().manual_seed(len(labels))
    shape = (runs, len(labels))
    logits = torch.randn(*shape, CLASSES, dtype=torch.float64, generator=generator)
    embedding = torch.randn(*shape, FEATURES, dtype=torch.float64, generator=generator)
    weight = 0.5 + torch.rand(shape, dtype=torch.float64, generator=generator)
    scores = torch.randn(*shape, SLICES, dtype=torch.float64, generator=generator)
    kept = torch.arange(SLICES) <= torch.randint(SLICES, (*shape, 1), generator=generator)
    heights = 20 + 7.5 * torch.arange(SLICES, dtype=torch.float64).expand(scores.shape)
    attention = Attention(scores.masked_fill(~kept, -torch.inf).softmax(-1), kept, heights)
    keep = torch.ones(shape, dtype=torch.bool)
    return Batch(logits, embedding, torch.tensor([labels] * runs), keep, weight, attention)


def _mapped(change: Callable[..., Tensor], *batches: Batch) -> Batch:
    """A batch of what `change` makes of every tensor of these."""
    parts = ("logits", "embedding", "y", "keep", "weight")
    plain = {name: change(*(getattr(batch, name) for batch in batches)) for name in parts}
    given = [attention_of(batch) for batch in batches]
    names = ("weights", "keep", "height_mm")
    attention = {name: change(*(getattr(one, name) for one in given)) for name in names}
    return Batch(**plain, attention=Attention(**attention))


READS = ("logits", "embedding", "attention")
"""What a loss may depend on."""


def _with(batch: Batch, logits: Tensor, embedding: Tensor, weights: Tensor) -> Batch:
    """The batch with other values of what a loss may depend on."""
    attention = replace(attention_of(batch), weights=weights)
    return replace(batch, logits=logits, embedding=embedding, attention=attention)


def _read(batch: Batch) -> list[Tensor]:
    """What a loss may depend on, as leaves."""
    parts = (batch.logits, batch.embedding, attention_of(batch).weights)
    return [part.clone().requires_grad_() for part in parts]


def _value(make: MakeLoss, batch: Batch) -> Tensor:
    """Of the only run."""
    return make(1)(batch)[0]


def _gradients(make: MakeLoss, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """Value, and gradients by `READS`; 0 where the value does not depend on one."""
    read = _read(batch)
    value = _value(make, _with(batch, *read))
    if not value.requires_grad:
        return value, [torch.zeros_like(part) for part in read]
    return value.detach(), list(torch.autograd.grad(value, read, materialize_grads=True))


def _scalar(make: MakeLoss) -> None:
    loss = make(1)
    try:
        value = loss(_batch())[0]
    except ConfigError as error:
        raise LawError("scalar", str(error)) from error
    hold(value.ndim == 0, "scalar", f"its value has shape {tuple(value.shape)}")
    hold(bool(value.isfinite()), "scalar", f"its value is {float(value)}")
    again = _value(make, _batch())
    hold(torch.equal(value, again), "scalar", f"it gives {float(value)}, and then {float(again)}")


def _bag_order(make: MakeLoss) -> None:
    batch, order = _batch(), torch.tensor([3, 7, 0, 4, 6, 1, 2, 5])
    turned = _mapped(lambda part: part[:, order], batch)
    found, expected = _value(make, turned), _value(make, batch)
    hold_equal("bag order", found, expected, EXACT, "another order of the bags changes it")


def _padding(make: MakeLoss) -> None:
    batch = _batch()
    expected, slopes = _gradients(make, batch)
    other = _batch((1, 0))
    other = replace(other, keep=~other.keep)
    padded = _mapped(lambda own, pads: torch.cat([pads[:, :1], own, pads[:, 1:]], 1), batch, other)
    found, gradients = _gradients(make, padded)
    hold_equal("padding", found, expected, EXACT, "bags that are not kept change it")
    for name, gradient, slope in zip(READS, gradients, slopes, strict=True):
        pads = float(gradient[:, [0, -1]].abs().max())
        hold(pads == 0, "padding", f"bags that are not kept have a gradient by {name} of {pads:.3g}")
        hold_equal(
            "padding", gradient[:, 1:-1], slope, EXACT, f"bags that are not kept change that by {name}"
        )


def _slice_padding(make: MakeLoss) -> None:
    batch = _batch()
    expected, slopes = _gradients(make, batch)
    own = attention_of(batch)
    weights, keep = (torch.nn.functional.pad(part, (0, 2)) for part in (own.weights, own.keep))
    height_mm = torch.nn.functional.pad(own.height_mm, (0, 2), value=999.0)
    longer = Attention(weights, keep, height_mm)
    found, gradients = _gradients(make, replace(batch, attention=longer))
    hold_equal("padding", found, expected, EXACT, "slices that are not kept change it")
    padded = gradients[2].masked_select(~longer.keep)
    hold(not padded.any(), "padding", "slices that are not kept have a gradient")
    hold_equal("padding", gradients[2][..., :-2], slopes[2], EXACT, "slices that are not kept change others'")


def _few_pairs(make: MakeLoss) -> None:
    for what, labels in FEWEST_BAGS.items():
        _finite("few pairs", make, _batch(labels), what)


def _dead_embedding(make: MakeLoss) -> None:
    batch = _batch()
    _finite("dead embedding", make, replace(batch, embedding=torch.zeros_like(batch.embedding)), "all 0")


def _one_slice(make: MakeLoss) -> None:
    batch = _batch()
    for what, place in (("bags of one slice", 1), ("all attention on one slice", SLICES)):
        kept = torch.arange(SLICES) < place
        weights = (torch.arange(SLICES) == place - 1).double()
        own = attention_of(batch)
        shape = own.weights.shape
        attention = Attention(weights.expand(shape), kept.expand(shape), own.height_mm)
        _finite("one slice", make, replace(batch, attention=attention), what)


def _finite(law: str, make: MakeLoss, batch: Batch, what: str) -> None:
    """Value and gradients are numbers."""
    value, gradients = _gradients(make, batch)
    hold(bool(value.isfinite()), law, f"with {what} it is {float(value)}")
    for name, gradient in zip(READS, gradients, strict=True):
        hold(bool(gradient.isfinite().all()), law, f"with {what} its gradient by {name} is not finite")


def _gradient(make: MakeLoss) -> None:
    batch = _batch()

    def value(*read: Tensor) -> Tensor:
        # The 0 lets a loss that reads none, or some of them alone, be checked as well.
        return _value(make, _with(batch, *read)) + 0 * sum(part.sum() for part in read)

    # Inside, since finite differences of a weight that is 0 have one side.
    kept = attention_of(batch)
    inner = torch.where(kept.keep, kept.weights, 0.1)
    given = _read(_with(batch, batch.logits, batch.embedding, inner))
    try:
        torch.autograd.gradcheck(value, given, eps=1e-6, atol=1e-5, rtol=1e-4)
    except RuntimeError as error:
        finding = "it is not what finite differences give (is something detached, or a step?)"
        raise LawError("gradient", finding) from error


def _runs(make: MakeLoss) -> None:
    batch = _batch(runs=3)
    together = make(3)(batch)
    hold(together.shape == (3,), "runs", f"three runs have values of shape {tuple(together.shape)}")
    for run in range(3):
        alone = make(1)(batch.take(torch.tensor([run])))
        hold_equal("runs", together[run], alone[0], STACKED, "a run's value differs beside others")


def _precision(make: MakeLoss) -> None:
    batch = _batch()
    single = _mapped(lambda part: part.float() if part.is_floating_point() else part, batch)
    found, expected = _value(make, single), _value(make, batch)
    hold_equal("precision", found.double(), expected, SINGLE, "float32 gives another value than float64")


LOSS_LAWS: tuple[Callable[[MakeLoss], None], ...] = (
    *(_scalar, _bag_order, _padding, _slice_padding, _few_pairs, _dead_embedding, _one_slice, _gradient),
    *(_runs, _precision),
)
