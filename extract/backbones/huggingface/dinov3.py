"""DINOv3 by the names of its releases; what is loaded is the repository, as any other of Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from cache_schema.common.errors import ConfigError
from extract.backbones.checkpoint.hub import HubSource
from extract.backbones.huggingface.layout import FAMILIES, Layout
from extract.backbones.huggingface.spec import TransformersBackbone
from extract.backbones.shape import Outline
from extract.slices.sides import Canvas

if TYPE_CHECKING:
    from extract.backbones.huggingface.network import PretrainedNetwork

Dinov3Size = Literal[
    "small", "small_plus", "base", "large", "huge_plus", "7b",
    "convnext_tiny", "convnext_small", "convnext_base", "convnext_large",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Release:
    """Sizes of one release."""

    name: str
    """In its repository's."""
    parameters: int
    dim: int
    layers: int = 0
    heads: int = 0
    patch_size: int = 16
    registers: int = 4

    def count(self) -> int:
        """Numbers among the parameters."""
        return self.parameters


RELEASES: Mapping[Dinov3Size, Release] = {
    "small": Release("vits16", 21_596_544, 384, 12, 6),
    "small_plus": Release("vits16plus", 28_692_864, 384, 12, 6),
    "base": Release("vitb16", 85_660_416, 768, 12, 12),
    "large": Release("vitl16", 303_129_600, 1024, 24, 16),
    "huge_plus": Release("vith16plus", 840_592_640, 1280, 32, 20),
    "7b": Release("vit7b16", 6_716_035_072, 4096, 40, 32),
    "convnext_tiny": Release("convnext-tiny", 27_820_128, 768, patch_size=32, registers=0),
    "convnext_small": Release("convnext-small", 49_454_688, 768, patch_size=32, registers=0),
    "convnext_base": Release("convnext-base", 87_566_464, 1024, patch_size=32, registers=0),
    "convnext_large": Release("convnext-large", 196_230_336, 1536, patch_size=32, registers=0),
}
"""Of the web images' weights (LVD-1689M); all are gated."""


class Dinov3Spec(TransformersBackbone):
    """The released DINOv3 weights, or a local folder or repository in the same format."""

    kind: Literal["dinov3"] = "dinov3"
    size: Dinov3Size = "small"
    """Which release: a ViT of patch 16, or a ConvNeXt."""

    @property
    def hub_id(self) -> str:
        """The release, or the repository that is named."""
        return self.repository or f"facebook/dinov3-{RELEASES[self.size].name}-pretrain-lvd1689m"

    @property
    def licence(self) -> str:
        """Of the releases."""
        return "DINOv3 License" if self.gated else ""

    @property
    def gated(self) -> bool:
        """The releases are."""
        return self.path is None and self.repository is None

    def outline(self, canvas: Canvas) -> Outline | None:
        """Sizes of a release, or by the configuration on this machine."""
        if self.path is not None or self.repository is not None:
            return super().outline(canvas)
        release = RELEASES[self.size]
        kind = "dinov3_vit" if release.heads else "dinov3_convnext"
        family, patch = FAMILIES[kind], release.patch_size
        sizes = (patch, release.registers, release.dim, release.layers, release.heads, None)
        return Layout(kind, family, *sizes).outline(canvas)

    def at(self, folder: Path) -> Self:
        """From a folder, without repository and lock."""
        return type(self)(path=folder, layout=self.layout)

    def load(self, offline: bool = False) -> PretrainedNetwork:
        """As `TransformersBackbone.load`, of DINOv3 and of nothing else."""
        network = super().load(offline)
        kind = network.layout.model_type
        if not kind.startswith("dinov3"):
            raise ConfigError(f"{network.where} is of model_type {kind!r}, no DINOv3: say kind: huggingface")
        return network

    @classmethod
    def listed(cls) -> Mapping[str, tuple[Self, Release]]:
        """The releases."""
        return {f"dinov3/{size}": (cls(size=size), release) for size, release in RELEASES.items()}

    @classmethod
    def of_repository(cls, kind: str, source: HubSource) -> Self | None:
        """Another repository in the same format."""
        return cls(repository=source.repository, revision=source.revision) if kind == "dinov3" else None

    @classmethod
    def examples(cls, folder: Path) -> tuple[Self, ...]:
        """Small checkpoints with both kinds of feed-forward layer, and of convolutions."""
        from extract.backbones.huggingface.examples import save_example

        names = ("dinov3", "dinov3_gated", "dinov3_convnext")
        return tuple(cls(path=save_example(folder, name)) for name in names)
