"""Any network for images that `transformers` knows, by repository or folder.

backbone: {kind: huggingface, repository: facebook/dinov3-vits16-pretrain-lvd1689m}
backbone: {kind: huggingface, path: weights/rad-dino}
backbone: {kind: huggingface, path: weights/deit, layout: {cls: true, registers: 1}}
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from cache_schema.common.errors import ConfigError
from extract.backbones.checkpoint.hub import HubSource
from extract.backbones.huggingface.layout import DeclaredLayout, layout_of
from extract.backbones.published import PublishedBackbone, called, read_config
from extract.backbones.shape import Outline
from extract.slices.sides import Canvas

if TYPE_CHECKING:
    from extract.backbones.huggingface.network import PretrainedNetwork


class TransformersBackbone(PublishedBackbone):
    """What `huggingface` and the names that fill it in have in common."""

    layout: DeclaredLayout | None = None
    """Which tokens it gives, where its kind of network is not known here."""

    def outline(self, canvas: Canvas) -> Outline | None:
        """Sizes by the configuration on this machine; None where there is none yet.

        Raises:
            ConfigError: If a local folder has no usable config.
        """
        try:
            folder = self._folder(self._read_lock(), offline=True)
        except ConfigError:
            if self.path is not None:
                raise
            return None
        return layout_of(read_config(folder), self.layout, called(folder)).outline(canvas)

    def load(self, offline: bool = False) -> PretrainedNetwork:
        """Read a checkpoint by `transformers`, held to its lock where there is one.

        Raises:
            ConfigError: If there is none, `transformers` is not installed, or cannot read it.
        """
        try:
            from extract.backbones.huggingface.network import load_network
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"this backbone needs {error.name}: pip install 'slicecache[extract]'"
            ) from error
        return load_network(self.folder(offline), self.layout)


class HuggingFaceSpec(TransformersBackbone):
    """A repository or a folder."""

    kind: Literal["huggingface"] = "huggingface"

    @model_validator(mode="after")
    def _some_place(self) -> Self:
        if self.path is None and self.repository is None:
            raise ValueError("give repository (OWNER/NAME) or path")
        return self

    @property
    def hub_id(self) -> str:
        """The repository."""
        return self.repository or ""

    def at(self, folder: Path) -> Self:
        """From a folder, without repository and lock."""
        return type(self)(path=folder, layout=self.layout)

    @classmethod
    def of_repository(cls, kind: str, source: HubSource) -> Self | None:
        """Any repository."""
        if kind != "huggingface":
            return None
        return cls(repository=source.repository, revision=source.revision)

    @classmethod
    def examples(cls, folder: Path) -> tuple[Self, ...]:
        """Small checkpoints of every kind of network that is known here but DINOv3's own."""
        from extract.backbones.huggingface.examples import CONFIGURATIONS, readable, save_example

        names = [name for name in CONFIGURATIONS if not name.startswith("dinov3") and readable(name)]
        return tuple(cls(path=save_example(folder, name)) for name in names)
