"""The Medical Slice Transformer's fusion: a CLS token and one transformer layer over the slices.

Theirs (arXiv 2411.15802 and its code): a learned CLS token, one pre-norm layer of 12 heads, a
feed-forward part as wide as a token with ReLU, no dropout, a final LayerNorm, and the CLS token into a
linear classifier; positions none, `Embedding(256, d)` by slice, or rotary with theta 256. They fine-tune
the backbone as well, so their headline results are not to be expected of frozen tokens.

Ours, where the paper and its code leave room or we differ: positions are added to slices only, not to
the CLS token; rotary positions count slices from 1 and the CLS token is 0, and pairs of neighbouring
numbers turn together; `sinusoidal` is by height in mm. The key's bias is there with rotary positions
only, since it has no effect otherwise. Linear layers begin as `torch.nn.Linear` does, tokens normal with
a standard deviation of 0.02; `draw: as_released` begins as theirs does (tokens N(0, 1), query, key and value
Xavier uniform as one layer, their biases and the output's 0). Five steps of the released training in float64
agree to 1e-11 for positions none, learned and rotary (`tests/training/test_aggregate_mst_released.py`).

Only the CLS token's output is used, so no layer is ever applied to a slice: see `heads/cls_row.py`.
"""

from typing import ClassVar, Literal, Self, get_args

from pydantic import PositiveInt

from aggregate.heads.base import HeadBase
from aggregate.heads.mst_layer import Draw, MstHead, MstOptions, Positions
from aggregate.heads.mst_narrow import NarrowMstHead
from cache_schema.common.strict import later


class MstSpec(HeadBase):
    """The Medical Slice Transformer's fusion: a CLS token and one transformer layer over the slices."""

    learns_by_heart: ClassVar[bool] = True
    words: ClassVar[str] = "MST fusion"
    kind: Literal["mst"] = "mst"
    heads: PositiveInt = 12
    """Attention heads; they must divide the numbers of a token."""
    positions: Positions = "none"
    """`none` as published, so that the order of slices has no effect; `learned` and `rotary` go by a
    slice's index in its bag, `sinusoidal` by its height in mm."""
    draw: Draw = later("ours")
    """How weights begin."""
    bottleneck: PositiveInt = later(1)
    """A linear layer takes tokens down to so small a share of their numbers first; 4 is their option."""
    centre: Literal[False] = False
    """Its LayerNorm does that work."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """One for each kind of positions, whole and narrow."""
        kinds: tuple[Positions, ...] = get_args(Positions)
        whole = (cls(heads=2, positions=kind, embedding=(6,)[: kind == "none"]) for kind in kinds)
        narrow = (cls(heads=1, positions=kind, bottleneck=3) for kind in kinds)
        return (*whole, *narrow)

    def build(self, dim: int, n_classes: int) -> "MstHead":
        """Make the head for tokens of this dimension."""
        options = MstOptions(self.heads, self.positions, self.draw, self.bottleneck)
        head = MstHead if self.bottleneck == 1 else NarrowMstHead
        return head(self, dim, n_classes, options)
