"""What every backbone offers: its identity, its sizes, and tokens for a batch of slices."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from cache_schema.common.errors import ConfigError
from cache_schema.format.header import BackboneIdentity, FloatName

FLOAT16_LARGEST = 65504.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one forward pass gives, all in float32 and after the final norm."""

    cls: dict[str, Tensor]
    """By array name (`cls`, and `cls_l08` for block 8): `(slice, dim)`."""
    patches: Tensor
    """`(slice, row, col, dim)`."""
    attention: Tensor | None = field(default=None)
    """`(slice, head, row, col)`: the last block's CLS row of the softmax over all tokens."""


@runtime_checkable
class Backbone(Protocol):
    """A frozen network with a square patch grid."""

    @property
    def identity(self) -> BackboneIdentity:
        """Architecture, weights, position table and layers, as they enter the fingerprint."""
        ...

    @property
    def dim(self) -> int:
        """Length of a token."""
        ...

    @property
    def heads(self) -> int:
        """Attention heads per block."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per canvas: rows, cols."""
        ...

    @property
    def largest_token(self) -> float:
        """A bound that no component of any token can exceed, whatever the input."""
        ...

    def __call__(self, pixels: Tensor) -> Tokens:
        """Embed normalised pixels `(slice, 3, height, width)`."""
        ...


def layer_name(layer: int) -> str:
    """Array name of a block's CLS token, counted from 1: `cls_l08`."""
    return f"cls_l{layer:02d}"


def require_storable(backbone: Backbone, storage: FloatName) -> None:
    """Refuse float16 storage for a backbone whose tokens could overflow it.

    A layer norm over `dim` components gives at most `sqrt(dim - 1)` in any of them, so that
    `sqrt(dim - 1) * |weight| + |bias|` bounds every stored token before any image is seen, and
    `patch_mean`, a weighted mean of tokens, with them.

    Raises:
        ConfigError: If that bound is beyond the largest float16.
    """
    if storage == "float16" and not backbone.largest_token <= FLOAT16_LARGEST:
        raise ConfigError(
            f"tokens of this backbone can reach {backbone.largest_token:.3g}, beyond float16's "
            f"{FLOAT16_LARGEST:.0f}: set extract.storage to float32"
        )
