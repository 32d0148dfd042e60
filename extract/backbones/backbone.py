"""What every backbone offers: a spec that names it, its weights, and tokens for a batch of slices.

A spec loads a network, and a network is placed: on a canvas, a device, in a dtype. Nothing heavy is
imported here, so that planning can read a spec without torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import Strict
from cache_schema.format.header import BackboneIdentity, FloatName

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from extract.backbones.checkpoint.hub import HubSource
    from extract.backbones.processor import Processor
    from extract.backbones.shape import Outline, Sizes
    from extract.slices.sides import Canvas

FLOAT16_LARGEST = 65504.0

MeanAndStd = tuple[tuple[float, ...], tuple[float, ...]]
"""Of the pixels' three channels."""

UNNORMALISED: MeanAndStd = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Nothing is subtracted, and nothing divided by."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one forward pass gives, all in float32 and after the final norm."""

    cls: dict[str, Tensor]
    """By array name (`cls`, `cls_l08` for block 8, `pooled`): `(slice, dim)`; empty where it has none."""
    patches: Tensor
    """`(slice, row, col, dim)`."""
    attention: Tensor | None = field(default=None)
    """`(slice, head, row, col)`: the last block's CLS row of the softmax over all tokens."""
    more: dict[str, Tensor] = field(default_factory=dict)
    """By array name: `registers` `(slice, register, dim)`, `patches_l08` as `patches`."""


@runtime_checkable
class Backbone(Protocol):
    """A frozen network, placed on a canvas."""

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
    def offers(self) -> frozenset[str]:
        """Which of `cls`, `cls_attention`, `pooled` and `registers` it can give; patch tokens all have."""
        ...

    @property
    def registers(self) -> int:
        """Register tokens; 0 without."""
        ...

    @property
    def normalised(self) -> MeanAndStd | None:
        """What its pixels must have been normalised with; None where it does not say."""
        ...

    @property
    def largest_token(self) -> float | None:
        """A bound that no component of any token can exceed, whatever the input; None where it has none."""
        ...

    def __call__(self, pixels: Tensor) -> Tokens:
        """Embed normalised pixels `(slice, 3, height, width)`."""
        ...


def passes_at_once(backbone: Backbone) -> int:
    """How many of its forward passes run at a time, each on a share of the cores; 1 where it does not say."""
    return getattr(backbone, "at_once", 1)


class Network(Protocol):
    """Weights, read or drawn, before they are placed."""

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        ...

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """By name, as the digest takes them."""
        ...

    def place(
        self,
        canvas: Canvas,
        device: torch.device,
        dtype: torch.dtype,
        layers: Sequence[int] = (),
        attention: bool = False,
        patch_layers: Sequence[int] = (),
    ) -> Backbone:
        """Put the weights on their device; arguments and errors as in `NamedBackbone.build`."""
        ...


class NamedBackbone(Strict):
    """What every kind of backbone derives its spec from."""

    def located(self, base: Path) -> Self:
        """With relative paths taken from the pipeline file's folder."""
        return self

    def outline(self, canvas: Canvas) -> Outline | None:
        """Sizes without weights; None when only the network itself knows them.

        Raises:
            ConfigError: If a local folder has no usable config.
        """
        return None

    def missing(self) -> str | None:
        """Why `load(offline=True)` would find no weights, in one sentence; None when none is known."""
        return None

    def hub(self) -> HubSource | None:
        """The repository that its weights are fetched from; None when nothing is fetched."""
        return None

    def processor(self, offline: bool = True) -> Processor | None:
        """What its checkpoint states of its pixels; None where it states nothing.

        Args:
            offline: Look on this machine alone; else it is fetched where it is not here.

        Raises:
            ConfigError: If the checkpoint cannot be had, or its statement cannot be used.
        """
        return None

    @property
    def licence(self) -> str:
        """Of its published weights; empty where there are none, or they are somebody else's."""
        return ""

    @property
    def gated(self) -> bool:
        """Whether its repository is known to let in only who accepted a licence there."""
        return False

    @property
    def lock_file(self) -> Path | None:
        """File that says what its weights must be; None without one."""
        return None

    def at(self, folder: Path) -> Self:
        """The same with the weights of a local folder; what fetches nothing is itself."""
        return self

    @abstractmethod
    def source(self) -> str:
        """Where its weights come from, in a few words."""

    @classmethod
    def listed(cls) -> Mapping[str, tuple[Self, Sizes]]:
        """What `backbone list` shows: name, such as `dinov2/small`, to spec and sizes."""
        return {}

    @classmethod
    def of_repository(cls, kind: str, source: HubSource) -> Self | None:
        """The spec of a repository that `backbone fetch` names; None when it is another kind, or has none."""
        return None

    @classmethod
    def of_architecture(cls, architecture: Mapping[str, Any]) -> Self | None:
        """What a fingerprint that says no more than this most likely means; its digest decides."""
        return None

    @classmethod
    def examples(cls, folder: Path) -> tuple[Self, ...]:
        """Small ones of this kind for `check_backbone`, with whatever files they need below `folder`."""
        return ()

    @abstractmethod
    def load(self, offline: bool = False) -> Network:
        """Read or draw the weights; `offline` takes them from the local cache of Hugging Face only.

        Raises:
            ConfigError: If there are no such weights.
        """

    def build(
        self,
        canvas: Canvas,
        device: torch.device,
        dtype: torch.dtype,
        layers: Sequence[int] = (),
        attention: bool = False,
        patch_layers: Sequence[int] = (),
        offline: bool = False,
    ) -> Backbone:
        """Load the weights and place them.

        Args:
            canvas: Pixels along a side, or rows and columns.
            device: Where it runs.
            dtype: Compute dtype.
            layers: Blocks whose CLS token is kept too, from 1.
            attention: Whether to give the last block's CLS attention.
            patch_layers: Blocks whose patch tokens are kept too, from 1.
            offline: Take the weights from the local cache of Hugging Face only.

        Raises:
            ConfigError: If there are no such weights, or they do not fit the canvas or the layers.
        """
        return self.load(offline).place(canvas, device, dtype, layers, attention, patch_layers)


def layer_name(layer: int, of: str = "cls") -> str:
    """Array name of a block's CLS token, counted from 1, `cls_l08`, or of its patch tokens."""
    return f"{of}_l{layer:02d}"


def require_storable(backbone: Backbone, storage: FloatName) -> None:
    """Refuse float16 storage for a backbone whose tokens could overflow it.

    A layer norm over `dim` components gives at most `sqrt(dim - 1)` in any of them, so that
    `sqrt(dim - 1) * |weight| + |bias|` bounds every stored token before any image is seen, and
    `patch_mean`, a weighted mean of tokens, with them.

    Raises:
        ConfigError: If that bound is beyond the largest float16.
    """
    bound = backbone.largest_token
    # A stranger's backbone need not know its bound: the store then refuses every volume that overflows.
    if storage == "float16" and bound is not None and not bound <= FLOAT16_LARGEST:
        raise ConfigError(
            f"tokens of this backbone can reach {bound:.3g}, beyond float16's "
            f"{FLOAT16_LARGEST:.0f}: set extract.storage to float32"
        )


def require_normalised(backbone: Backbone, given: MeanAndStd) -> None:
    """Refuse pixels that are normalised otherwise than a backbone says that it needs.

    Pixels that are not normalised at all are what somebody chose (`normalise: none`), not a slip.

    Raises:
        ConfigError: Naming both means and standard deviations.
    """
    if backbone.normalised not in (None, given) and given != UNNORMALISED:
        mean, std = (list(values) for values in backbone.normalised or ())
        raise ConfigError(
            f"this backbone wants pixels of mean {mean} and std {std}, and extract.normalise gives "
            f"{list(given[0])} and {list(given[1])}: set extract.normalise: {{mean: {mean}, std: {std}}}"
        )


def stored_tokens(asked: Sequence[str], offers: frozenset[str]) -> tuple[str, ...]:
    """The tokens that a store keeps: those asked for, and always CLS where the backbone has one.

    Args:
        asked: In the order of the format.
        offers: Of the backbone.

    Raises:
        ConfigError: If CLS, its attention, a pooling or registers are asked for and it has none.
    """
    for name in ("cls", "cls_attention", "pooled", "registers"):
        if name in asked and name not in offers:
            raise ConfigError(
                f"extract.tokens: this backbone has no {name}; leave it out, e.g. tokens: {_instead(offers)}"
            )
    return tuple(asked) if "cls" in asked or "cls" not in offers else ("cls", *asked)


def _instead(offers: frozenset[str]) -> str:
    """What describes a slice by one token, as a pipeline says it."""
    return "[patch_mean, pooled]" if "pooled" in offers else "[patch_mean]"
