"""A DINOv2-shaped network whose weights come from a seed and from nothing else.

Random features of this architecture still tell brains apart by size and shape, which is what a demo and
an offline test need, and they are the control that a trained backbone has to beat. For that the draw is
not the training's: products keep the variance of what they get (fan-in), LayerScale is 1, and the CLS
token and the position table are small beside the patches, or they would be most of what the CLS says.
Wider queries and keys were tried: attention then follows the noise of the draw, and the CLS of real
brains loses the participant's sex (AUROC 0.91 at 1, 0.71 at 2, 0.41 at 4 times the fan-in deviation).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from cache_schema.common.pipeline_file import validate
from extract.backbones.backbone import NamedBackbone
from extract.backbones.shape import Outline, Shape
from extract.slices.sides import Canvas

if TYPE_CHECKING:
    from extract.backbones.transformer import DinoNetwork

UntrainedSize = Literal["tiny", "small", "base", "large"]

SIZES: Mapping[UntrainedSize, tuple[int, int, int]] = {
    "tiny": (3, 128, 4),
    "small": (12, 384, 6),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
"""Layers, dim, heads."""


class UntrainedSpec(NamedBackbone):
    """The DINOv2 architecture with weights drawn from a seed: for demo, tests, and as a control."""

    kind: Literal["untrained"] = "untrained"
    size: UntrainedSize = "tiny"
    """Of the architecture: `tiny` is for trying things, the others are as DINOv2 has them."""
    seed: int = Field(default=0, ge=0)
    """What the weights are drawn from."""
    registers: bool = False
    """Whether it has four register tokens, as DINOv2 with registers has."""

    @property
    def shape(self) -> Shape:
        """The network's sizes."""
        layers, dim, heads = SIZES[self.size]
        return Shape(layers, dim, heads, hidden=4 * dim, registers=4 if self.registers else 0)

    def outline(self, canvas: Canvas) -> Outline:
        """Sizes without weights."""
        return self.shape.outline(canvas)

    def source(self) -> str:
        """The seed."""
        return f"drawn from the seed {self.seed}"

    @classmethod
    def listed(cls) -> Mapping[str, tuple[UntrainedSpec, Shape]]:
        """Every size."""
        specs = {f"untrained/{size}": cls(size=size) for size in SIZES}
        return {name: (spec, spec.shape) for name, spec in specs.items()}

    @classmethod
    def of_architecture(cls, architecture: Mapping[str, Any]) -> UntrainedSpec | None:
        """Size and seed stand in it."""
        if architecture.get("kind") != "untrained":
            return None
        drawn = {name: architecture[name] for name in ("size", "seed") if name in architecture}
        return validate(cls, {**drawn, "registers": bool(architecture.get("registers"))}, "the fingerprint")

    @classmethod
    def examples(cls, folder: Path) -> tuple[UntrainedSpec, ...]:
        """With and without registers; nothing is written."""
        return cls(), cls(registers=True, seed=1)

    def load(self, offline: bool = False) -> DinoNetwork:
        """Draw the weights."""
        from extract.backbones.transformer import DinoNetwork
        from extract.backbones.weights import draw_weights

        weights = draw_weights(self.shape.parameters(), self.seed)
        drawn = {"size": self.size, "seed": self.seed}
        return DinoNetwork("untrained", self.shape, weights, "the drawn weights", drawn)
