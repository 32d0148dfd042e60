"""The registry of heads: a union on `kind`.

Grammar: `head: {kind: attention, hidden: 64, embedding: [256, 128], train: all}`. A new head is one new
file, which holds its spec and its class, and its name here.
"""

from typing import Annotated, get_args

from pydantic import Field

from aggregate.heads.attention import AttentionSpec
from aggregate.heads.base import HeadBase
from aggregate.heads.centre_gaussian import CentreGaussianSpec
from aggregate.heads.gated_attention import GatedAttentionSpec
from aggregate.heads.linear_attention import LinearAttentionSpec
from aggregate.heads.mean import MeanSpec
from aggregate.heads.mst import MstSpec
from aggregate.heads.query import QuerySpec
from aggregate.heads.random_attention import RandomAttentionSpec

HeadSpec = Annotated[
    MeanSpec
    | AttentionSpec
    | LinearAttentionSpec
    | GatedAttentionSpec
    | QuerySpec
    | MstSpec
    | CentreGaussianSpec
    | RandomAttentionSpec,
    Field(discriminator="kind"),
]

HEADS: tuple[type[HeadBase], ...] = get_args(get_args(HeadSpec)[0])
"""The classes of the union, in its order."""
