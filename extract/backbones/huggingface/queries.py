"""Query and key of a block, seen where every network of `transformers` hands them to its attention.

The fused kernel gives no weights, and `eager` attention, which does, needs memory for all scores of all
blocks. So an attention of our own stands between: it is the fused one, and leaves what the asked block's
got, rotary positions applied, in a list that only this block knows.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

NAME = "slicecache_sdpa"
"""As `transformers` knows it; registered once in a process."""
_SEEN = "_slicecache_queries"


@dataclass(frozen=True, slots=True)
class Queries:
    """What one block's attention got: `(slice, head, token, head_dim)` each."""

    query: Tensor
    key: Tensor
    scaling: float | None
    masked: bool


def register() -> str:
    """Make the attention known to `transformers`; returns its name there."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """The fused attention, seen."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    seen: list[tuple[nn.Module, Queries]] | None = getattr(module, _SEEN, None)
    if seen is not None:
        seen.append((module, Queries(query, key, given.get("scaling"), attention_mask is not None)))
    attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **given)
    return attended, None


class LastQueries:
    """The last block's, call by call."""

    def __init__(self, network: nn.Module) -> None:
        """Look at every block until `settle` knows which is the last."""
        self._network = network
        self._seen: list[tuple[nn.Module, Queries]] = []
        for module in network.modules():
            setattr(module, _SEEN, self._seen)

    def settle(self) -> bool:
        """After one call: look at the last block only. Whether there is one that can be seen."""
        last = self._seen[-1][0] if self._seen else None
        self._seen.clear()
        for module in self._network.modules():
            if module is not last:
                setattr(module, _SEEN, None)
        return last is not None

    def take(self) -> Queries:
        """Of the call that has just ended."""
        _, queries = self._seen[-1]
        self._seen.clear()
        return queries
