"""The registry of heads: a union on `kind`.

Grammar: `head: {kind: attention, hidden: 64, embedding: [256, 128], train: all}`, or `head: attention`. A
new head is one new file, which holds its spec and its class, and its name here. Somebody else's is
`kind: custom` with a `target` and `options`, or in Python the class itself.
"""

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field

from aggregate.heads.attention import AttentionSpec
from aggregate.heads.base import HeadBase
from aggregate.heads.bigru import BigruSpec
from aggregate.heads.centre_gaussian import CentreGaussianSpec
from aggregate.heads.clam_sb import ClamSbSpec
from aggregate.heads.concat import ConcatSpec
from aggregate.heads.concat_logistic import ConcatLogisticSpec
from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.dsmil import DsmilSpec
from aggregate.heads.gated_attention import GatedAttentionSpec
from aggregate.heads.linear_attention import LinearAttentionSpec
from aggregate.heads.lse import LseSpec
from aggregate.heads.max import MaxSpec
from aggregate.heads.mean import MeanSpec
from aggregate.heads.mean_max import MeanMaxSpec
from aggregate.heads.mst import MstSpec
from aggregate.heads.query import QuerySpec
from aggregate.heads.random_attention import RandomAttentionSpec
from aggregate.heads.smap import SmapSpec
from aggregate.heads.topk import TopkSpec
from aggregate.heads.transmil_1d import Transmil1dSpec
from cache_schema.common.custom import read_part
from cache_schema.common.short_forms import reads

AnyHead = (
    MeanSpec
    | MaxSpec
    | MeanMaxSpec
    | LseSpec
    | TopkSpec
    | ConcatSpec
    | ConcatLogisticSpec
    | AttentionSpec
    | LinearAttentionSpec
    | GatedAttentionSpec
    | QuerySpec
    | ClamSbSpec
    | DsmilSpec
    | SmapSpec
    | BigruSpec
    | MstSpec
    | Transmil1dSpec
    | CentreGaussianSpec
    | RandomAttentionSpec
    | CustomHeadSpec
)

HEADS: tuple[type[HeadBase], ...] = get_args(AnyHead)
"""The classes of the union, in its order."""


@reads({"enum": [cls.model_fields["kind"].default for cls in HEADS if cls is not CustomHeadSpec]})
def read_head(value: Any) -> Any:
    """Read a bare name as that kind with its usual options, and an object of Python's as a custom one."""
    return {"kind": value} if isinstance(value, str) else read_part(value)


HeadSpec = Annotated[AnyHead, Field(discriminator="kind"), BeforeValidator(read_head)]
