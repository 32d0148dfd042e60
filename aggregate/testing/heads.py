"""The laws of a head.

    from aggregate.testing.heads import check_head
    check_head(MyPool, options={"hidden": 8})

shapes · attention (not negative, 1 over kept slices, 0 on pads) · padding · bag order · alone (a bag has no
part in another's result, in training neither) · one slice · auxiliary (a head's own term of the objective is
each bag's own, too) · gradient · seeds · precision · runs (stacked as alone, to 1e-10 in float64).
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from aggregate.heads.base import Head, HeadBase, HeadOutput
from aggregate.heads.centring import MEAN, SCALE
from aggregate.heads.custom import CustomHead, CustomHeadSpec
from aggregate.heads.registry import HeadSpec
from aggregate.testing.law import hold_equal
from aggregate.testing.runs import hold_runs
from cache_schema.common.custom import give
from cache_schema.common.law import hold

CLASSES, RUNS = 3, 3
TRIAL_LENGTHS = (7, 1, 3, 5, 2)
"""Kept slices of the bags."""
TRIAL_LABELS = (0, 1, 2, 0, 1)
EXACT, SINGLE = 1e-9, 2e-3
"""Tolerances of float64 and of float32."""


def check_head(head: Any, dim: int = 12, options: Mapping[str, Any] | None = None) -> None:
    """Hold a head to the laws.

    Args:
        head: A specification (ours, or `{"kind": "custom", ...}`), the class of a module or a function that
            makes one, or a module.
        dim: Numbers of a token.
        options: With which a class or function is called, beside `dim`.

    Returns:
        None, which says that every law was kept.

    Raises:
        LawError: At the first law that is not kept.
        ConfigError: If it is no head at all: other results than pooled vectors and attention.

    Example:
        >>> sc.testing.check_head(MyHead, options={"hidden": 16})
    """
    spec = spec_of(head, options or {})
    built = spec.build(dim, CLASSES)
    tried = Tried(built, _parameters(built), _bags(dim))
    for law in HEAD_LAWS:
        law(tried)
    hold_runs(spec, dim)


def spec_of(head: Any, options: Mapping[str, Any]) -> HeadBase:
    """The specification of whatever stands for a head."""
    if isinstance(head, HeadBase):
        return head
    if isinstance(head, Mapping | str):
        found: HeadBase = TypeAdapter(HeadSpec).validate_python(head)
        return found
    if isinstance(head, nn.Module):
        return CustomHeadSpec(target=give(_maker(head)), options=dict(options))
    return CustomHeadSpec(target=give(head), options=dict(options))


def _maker(module: nn.Module) -> Callable[[int], nn.Module]:
    """A function that makes this module again."""

    def make(dim: int) -> nn.Module:
        return copy.deepcopy(module)

    return make


@dataclass(frozen=True, slots=True)
class Given:
    """Bags as a head is given them."""

    x: Tensor
    keep: Tensor
    height_mm: Tensor
    y: Tensor

    def of(self, bags: Any, slices: Any = slice(None)) -> "Given":
        """Some of the bags and slices."""
        keep, height_mm = self.keep[bags, slices], self.height_mm[bags, slices]
        return Given(self.x[bags, slices], keep, height_mm, self.y[bags])


@dataclass(frozen=True, slots=True)
class Tried:
    """A head with weights of several runs and some bags, in float64."""

    head: Head
    parameters: dict[str, Tensor]
    bags: Given

    def output(self, bags: Given, parameters: Mapping[str, Tensor] | None = None) -> HeadOutput:
        """What the head says of some bags."""
        return self.head(parameters or self.parameters, bags.x, bags.keep, bags.height_mm)

    def auxiliary(self, bags: Given, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """The head's own term of the objective, for labels that `TRIAL_LABELS` gives; 0 if it has none."""
        if not self.head.has_auxiliary:
            return bags.x.new_zeros(RUNS, len(bags.y))
        given = parameters or self.parameters
        parts = (self.head.prepare(bags.x, bags.keep, bags.height_mm), bags.keep, bags.height_mm)
        return self.head.auxiliary(given, *parts, self.head.pool(given, *parts)[1], bags.y)

    def pooled(self, bags: Given, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Pooled vectors in training, where that differs: whatever a batch has in common acts there."""
        given = parameters or self.parameters
        x = self.head.prepare(bags.x, bags.keep, bags.height_mm)
        head = self.head
        if isinstance(head, CustomHead) and not head.facts.random:
            head = copy.copy(head)
            head.module = head.trainer
        return head.pool(given, x, bags.keep, bags.height_mm)[0]


def _bags(dim: int) -> Given:
    """Bags of `TRIAL_LENGTHS` slices."""
    generator = torch.Generator().manual_seed(3)
    shape = (len(TRIAL_LENGTHS), max(TRIAL_LENGTHS))
    keep = torch.arange(shape[1]) < torch.tensor(TRIAL_LENGTHS).unsqueeze(1)
    x = torch.randn(*shape, dim, dtype=torch.float64, generator=generator)
    height_mm = 150 * torch.rand(shape, dtype=torch.float64, generator=generator)
    y = torch.tensor(TRIAL_LABELS)
    return Given(x.masked_fill(~keep.unsqueeze(-1), 0), keep, height_mm.masked_fill(~keep, 0), y)


def _parameters(head: Head) -> dict[str, Tensor]:
    """Weights away from their start, so that nothing agrees by being 0 or 1."""
    generator = torch.Generator().manual_seed(5)
    drawn = head.init(range(1, RUNS + 1), torch.float64)
    moved = head.trainable | ({MEAN, SCALE} & drawn.keys())
    return {
        name: value + 0.2 * torch.rand(value.shape, dtype=value.dtype, generator=generator)
        if name in moved
        else value
        for name, value in drawn.items()
    }


def _shapes(tried: Tried) -> None:
    found, bags = tried.output(tried.bags), len(TRIAL_LENGTHS)
    for name, shape in (
        ("logits", (RUNS, bags, CLASSES)),
        ("embedding", (RUNS, bags, found.embedding.shape[-1])),
        ("attention", (RUNS, bags, max(TRIAL_LENGTHS))),
    ):
        own = tuple(getattr(found, name).shape)
        hold(own == shape, "shapes", f"{name} has shape {own} and not {shape}")
    hold(bool(found.logits.isfinite().all()), "shapes", "logits are not finite")


def _attention(tried: Tried) -> None:
    attention, keep = tried.output(tried.bags).attention, tried.bags.keep
    if attention.isnan().all():  # the head gives none
        return
    hold(bool((attention >= 0).all()), "attention", f"it is {float(attention.min()):.3g} somewhere")
    pads = float(attention.masked_fill(keep, 0).abs().max())
    hold(pads == 0, "attention", f"it is {pads:.3g} on a pad")
    sums = attention.sum(-1)
    hold_equal("attention", sums, torch.ones_like(sums), EXACT, "it does not sum to 1 over kept slices")


def _padding(tried: Tried) -> None:
    bags, slices = tried.bags, max(TRIAL_LENGTHS)
    expected = tried.output(bags)
    generator = torch.Generator().manual_seed(7)
    more = [torch.nn.functional.pad(part, (0, 4)) for part in (bags.keep, bags.height_mm)]
    longer = Given(torch.nn.functional.pad(bags.x, (0, 0, 0, 4)), more[0], more[1], bags.y)
    for what, fill in (("0", 0.0), ("NaN", torch.nan)):
        padded = replace(longer, x=torch.where(longer.keep.unsqueeze(-1), longer.x, fill))
        found = tried.output(padded)
        hold_equal("padding", found.logits, expected.logits, EXACT, f"four more pads of {what} change logits")
        attention = found.attention[..., :slices]
        hold_equal("padding", attention, expected.attention, EXACT, f"pads of {what} change attention")
    noise = 1e3 * torch.randn(bags.x.shape, dtype=torch.float64, generator=generator)
    noisy = replace(bags, x=torch.where(bags.keep.unsqueeze(-1), bags.x, noise))
    first, second = (_gradients(tried, some) for some in (bags, noisy))
    for name, gradient in first.items():
        hold_equal("padding", second[name], gradient, EXACT, f"what stands at pads changes {name}'s gradient")


def _bag_order(tried: Tried) -> None:
    order = torch.tensor([3, 0, 4, 1, 2])
    bags = tried.bags
    turned = bags.of(order)
    expected, found = tried.output(bags), tried.output(turned)
    changed = "another order of the bags changes logits"
    hold_equal("bag order", found.logits, expected.logits[:, order], EXACT, changed)
    vectors = tried.pooled(bags)[:, order]
    hold_equal("bag order", tried.pooled(turned), vectors, EXACT, "another order changes pooled vectors")


def _alone(tried: Tried) -> None:
    bags = tried.bags
    expected, vectors = tried.output(bags), tried.pooled(bags)
    for bag, length in enumerate(TRIAL_LENGTHS):
        one = slice(bag, bag + 1)
        alone = bags.of(one, slice(length))
        found = tried.output(alone)
        hold_equal("alone", found.logits, expected.logits[:, one], EXACT, "a bag alone has other logits")
        attention = expected.attention[:, one, :length]
        hold_equal("alone", found.attention, attention, EXACT, "a bag alone has another attention")
        other = "a bag alone has another pooled vector in training"
        hold_equal("alone", tried.pooled(alone), vectors[:, one], EXACT, other)


def _one_slice(tried: Tried) -> None:
    found = tried.output(tried.bags.of(slice(None), slice(1)))
    hold(bool(found.logits.isfinite().all()), "one slice", "logits of bags of one slice are not finite")


def _auxiliary(tried: Tried) -> None:
    bags = tried.bags
    expected = tried.auxiliary(bags)
    hold(bool(expected.isfinite().all()), "auxiliary", "it is not finite")
    for bag, length in enumerate(TRIAL_LENGTHS):
        one = slice(bag, bag + 1)
        found = tried.auxiliary(bags.of(one, slice(length)))
        hold_equal("auxiliary", found, expected[:, one], EXACT, "a bag alone has another one")


def _gradient(tried: Tried) -> None:
    for name, gradient in _gradients(tried, tried.bags).items():
        hold(bool(gradient.isfinite().all()), "gradient", f"that of {name} is not finite")
        reached = bool((gradient.flatten(1).abs().sum(1) > 0).all())
        hold(reached, "gradient", f"none reaches {name}; freeze it (requires_grad=False) or leave it out")


def _gradients(tried: Tried, bags: Given) -> dict[str, Tensor]:
    """Of what training would minimise by every trainable parameter, through the pool as training has it."""
    names = sorted(tried.head.trainable)
    leaves = {name: value.clone().requires_grad_(name in names) for name, value in tried.parameters.items()}
    logits = tried.head.read_out(leaves, tried.pooled(bags, leaves)).logits
    value = logits.square().sum() + tried.auxiliary(bags, leaves).sum()
    given = [leaves[name] for name in names]
    return dict(zip(names, torch.autograd.grad(value, given, materialize_grads=True), strict=True))


def _seeds(tried: Tried) -> None:
    together, alone = tried.head.init([5, 8, 13], torch.float64), tried.head.init([8], torch.float64)
    for name, value in together.items():
        same = torch.equal(value[1], alone[name][0])
        hold(same, "seeds", f"{name} differs between two draws from one seed")


def _precision(tried: Tried) -> None:
    single = {
        name: value.float() if value.is_floating_point() else value
        for name, value in tried.parameters.items()
    }
    bags = tried.bags
    found = tried.output(replace(bags, x=bags.x.float(), height_mm=bags.height_mm.float()), single)
    hold(found.logits.dtype == torch.float32, "precision", f"float32 gives logits of {found.logits.dtype}")
    expected = tried.output(bags).logits
    hold_equal(
        "precision", found.logits.double(), expected, SINGLE, "float32 gives other logits than float64"
    )


HEAD_LAWS: tuple[Callable[[Tried], None], ...] = (
    *(_shapes, _attention, _padding, _bag_order, _alone),
    *(_one_slice, _auxiliary, _gradient, _seeds, _precision),
)
