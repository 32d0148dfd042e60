"""DINOv2 from a Hugging Face checkpoint: a local folder, or an id that is fetched once.

Only `config.json` and safetensors files are fetched and read; no code of a repository ever runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from extract.backbones.checkpoint.hub import HubSource
from extract.backbones.published import PublishedBackbone, called, local_folder, read_config
from extract.backbones.shape import MODEL_TYPES, Outline, Shape, shape_from_config
from extract.slices.sides import Canvas

if TYPE_CHECKING:
    from extract.backbones.transformer import DinoNetwork

Dinov2Size = Literal["small", "base", "large", "giant"]

RELEASES: Mapping[Dinov2Size, Shape] = {
    "small": Shape(layers=12, dim=384, heads=6, hidden=1536),
    "base": Shape(layers=12, dim=768, heads=12, hidden=3072),
    "large": Shape(layers=24, dim=1024, heads=16, hidden=4096),
    "giant": Shape(layers=40, dim=1536, heads=24, hidden=4096, gated=True),
}
"""The releases; with registers they have four."""


class Dinov2Spec(PublishedBackbone):
    """The released DINOv2 weights, or a local folder in the same format."""

    kind: Literal["dinov2"] = "dinov2"
    size: Dinov2Size = "small"
    """Which release: ViT-S, B, L or g, patch 14."""
    registers: bool = False
    """The variant with four register tokens."""

    @property
    def hub_id(self) -> str:
        """The release, or the repository that is named."""
        if self.repository is not None:
            return self.repository
        return f"facebook/dinov2-{'with-registers-' if self.registers else ''}{self.size}"

    @property
    def licence(self) -> str:
        """Of the releases."""
        return "Apache-2.0" if self.path is None and self.repository is None else ""

    def outline(self, canvas: Canvas) -> Outline | None:
        """Sizes of a release or a local folder; None for another id, whose config lies on the network.

        Raises:
            ConfigError: If a local folder has no usable config.
        """
        if self.path is not None:
            return read_shape(local_folder(self.path)).outline(canvas)
        return None if self.repository is not None else RELEASES[self.size].outline(canvas)

    def at(self, folder: Path) -> Self:
        """From a folder, without repository and lock."""
        return type(self)(path=folder)

    @classmethod
    def listed(cls) -> Mapping[str, tuple[Self, Shape]]:
        """The releases, named as their repositories are."""
        return {
            f"dinov2/{'with-registers-' if registers else ''}{size}": (
                cls(size=size, registers=registers),
                replace(shape, registers=4 if registers else 0),
            )
            for registers in (False, True)
            for size, shape in RELEASES.items()
        }

    @classmethod
    def of_repository(cls, kind: str, source: HubSource) -> Self | None:
        """Another repository in the same format."""
        return cls(repository=source.repository, revision=source.revision) if kind == "dinov2" else None

    @classmethod
    def of_architecture(cls, architecture: Mapping[str, Any]) -> Self | None:
        """The release of these sizes; weights of somebody else's have them too."""
        if architecture.get("kind") != "dinov2":
            return None
        names = ("layers", "dim", "heads", "hidden", "patch_size", "registers", "gated")
        for spec, shape in cls.listed().values():
            if all(getattr(shape, name) == architecture.get(name) for name in names):
                return spec
        return None

    @classmethod
    def examples(cls, folder: Path) -> tuple[Self, ...]:
        """Small checkpoints of every variant, drawn and written below `folder`."""
        return tuple(
            cls(path=write_example(folder / f"{gated}-{registers}", gated, registers))
            for gated in (False, True)
            for registers in (False, True)
        )

    def load(self, offline: bool = False) -> DinoNetwork:
        """Read a checkpoint, held to its lock where there is one."""
        from extract.backbones.transformer import DinoNetwork
        from extract.backbones.weights import read_weights, select_parameters

        folder = self.folder(offline)
        shape, weights = read_shape(folder), read_weights(folder)
        select_parameters(weights, shape.parameters(), called(folder))  # said before anything is placed
        return DinoNetwork("dinov2", shape, weights, called(folder))


def read_shape(folder: Path) -> Shape:
    """Sizes from the folder's `config.json`.

    Raises:
        ConfigError: If it is absent, no JSON object, or of another model.
    """
    return shape_from_config(read_config(folder), called(folder))


def write_example(folder: Path, gated: bool, registers: bool) -> Path:
    """A checkpoint of three small blocks with drawn weights, in the releases' format."""
    from safetensors.torch import save_file

    from extract.backbones.weights import draw_weights

    config = {
        "model_type": MODEL_TYPES[int(registers)],
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 70,
        "patch_size": 14,
        "use_swiglu_ffn": gated,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(draw_weights(read_shape(folder).parameters(), seed=5), folder / "model.safetensors")
    return folder
