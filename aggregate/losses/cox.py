"""Cox's partial likelihood of time to an event (Cox 1972), ties after Efron (1977) or Breslow (1974).

The label of a bag is its signed time, as XGBoost's `survival:cox` has it: `y > 0` is an event at y, any other
y is censored at -y. Only the order of times matters, so ranks do as well and are exact in every dtype.
A bag is at risk until its time, its own event and those tied with it included.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from aggregate.losses.base import ActsOn, Batch, Counts, StackedLoss, TargetKind, TermSpec

Ties = Literal["efron", "breslow"]
TINY = torch.finfo(torch.float32).tiny


class CoxSpec(TermSpec):
    """Cox's loss of the first output of a head for survival: the log hazard ratio."""

    acts_on: ClassVar[ActsOn] = "logits"
    for_target: ClassVar[TargetKind] = "survival"
    needs_whole: ClassVar[bool] = True
    """The risk sets of a part of the bags are others, and biased."""
    ties: Ties = "efron"
    """How events at one time share their risk set."""

    @property
    def group(self) -> str:
        """Runs of one way with ties are computed together."""
        return self.ties

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Both ways with ties."""
        return (cls(weight=1.0), cls(weight=1.0, ties="breslow"))

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """All of one way with ties."""
        ties = specs[0].ties
        return lambda batch: _of(batch, ties)


def _of(batch: Batch, ties: Ties) -> Float[Tensor, " run"]:
    return cox(batch.logits[..., 0], batch.y, batch.keep * batch.weight, ties)


def cox(
    risk: Float[Tensor, "run bag"],
    signed: Float[Tensor, "run bag"] | Int[Tensor, "run bag"],
    weight: Float[Tensor, "run bag"],
    ties: Ties = "efron",
) -> Float[Tensor, " run"]:
    """Negative log partial likelihood over the weight of the events; 0 for a run without any.

    Of events D at one time, of weight W, with sums of `w exp(risk)` S over who is at risk and E over D,
    Efron has `-sum_D w risk + W / m sum_{l < m} log(S - l E / m)` with m events. Here m is W rounded (at
    least 1, at most their number), so that sessions of one participant, which weigh 1 together, count as the
    one event that they are. Breslow has m = 1.

    Args:
        risk: Log hazard ratio of every bag.
        signed: Time of its event (> 0), or of the end of its observation, negative.
        weight: 0 at pads.
        ties: Efron or Breslow.
    """
    # Latest first and pads last, so that who is at risk is who stands before.
    time = signed.abs().masked_fill(weight <= 0, -1)
    order = time.argsort(dim=1, descending=True)
    risk, weight, time, signed = (part.gather(1, order) for part in (risk, weight, time, signed))
    event = (signed > 0) & (weight > 0)
    group = pad((time[:, 1:] != time[:, :-1]).cumsum(1), (1, 0))
    first, last = torch.searchsorted(group, group), torch.searchsorted(group, group, right=True) - 1

    def over_tied(values: Tensor) -> Tensor:
        return torch.zeros_like(values).scatter_add(1, group, values).gather(1, group)

    own = torch.where(weight > 0, risk + weight.clamp_min(TINY).log(), -torch.inf)
    at_risk = own.logcumsumexp(1).gather(1, last)
    share = over_tied(torch.where(event, own - at_risk, -torch.inf).exp())
    events, place = over_tied(event * weight), event.cumsum(1) - event.long()
    place = place - place.gather(1, first)
    if ties == "efron":
        steps = torch.minimum(events.round(), over_tied(event.to(risk.dtype))).clamp_min(1)
    else:
        steps = torch.ones_like(events)
    hosts = event & (place < steps)
    left = torch.log1p(-torch.where(hosts, place / steps, 0.0) * share)
    below = torch.where(hosts, (at_risk + left) * events / steps, 0.0)
    above = torch.where(event, weight * risk, 0.0)
    return (below - above).sum(1) / (event * weight).sum(1).clamp_min(TINY)
