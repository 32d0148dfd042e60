"""Backbones as a pipeline file names them; the discriminated union is the registry.

Nothing heavy is imported here: torch and the network come with `build`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from cache_schema.common.strict import Strict

if TYPE_CHECKING:
    import torch

    from extract.backbones.backbone import Backbone

Dinov2Size = Literal["small", "base", "large", "giant"]
UntrainedSize = Literal["tiny", "small", "base", "large"]


class Dinov2Spec(Strict):
    """The released DINOv2 weights, or a local folder in the same format."""

    kind: Literal["dinov2"] = "dinov2"
    size: Dinov2Size = "small"
    """Which release: ViT-S, B, L or g, patch 14."""
    registers: bool = False
    """The variant with four register tokens."""
    path: Path | None = None
    """A local folder with `config.json` and `*.safetensors`, in place of a download."""
    repository: str | None = None
    """Another Hugging Face id in the same format, e.g. a DINOv2 trained further."""
    revision: str | None = None
    """Commit or tag of the repository; the weights' digest stands in the fingerprint in any case."""

    @model_validator(mode="after")
    def _one_place(self) -> Dinov2Spec:
        if self.path is not None and (self.repository is not None or self.revision is not None):
            raise ValueError("give path, or repository and revision, not both")
        return self

    def located(self, base: Path) -> Dinov2Spec:
        """With a relative `path` taken from the pipeline file's folder."""
        if self.path is None:
            return self
        return self.model_copy(update={"path": base / self.path.expanduser()})

    def build(
        self,
        canvas: int,
        device: torch.device,
        dtype: torch.dtype,
        layers: Sequence[int] = (),
        attention: bool = False,
        offline: bool = False,
    ) -> Backbone:
        """Load the weights and place them.

        Args:
            canvas: Pixels along a side.
            device: Where it runs.
            dtype: Compute dtype.
            layers: Blocks whose CLS token is kept too, from 1.
            attention: Whether to give the last block's CLS attention.
            offline: Take the weights from the local cache of Hugging Face only.

        Raises:
            ConfigError: If there are no such weights, or they do not fit the canvas or the layers.
        """
        from extract.backbones.dinov2 import build_dinov2

        return build_dinov2(self, canvas, device, dtype, layers, attention, offline)


class UntrainedSpec(Strict):
    """The same architecture with weights drawn from a seed: for demo, tests, and as a control."""

    kind: Literal["untrained"] = "untrained"
    size: UntrainedSize = "tiny"
    seed: int = Field(default=0, ge=0)
    registers: bool = False

    def located(self, base: Path) -> UntrainedSpec:
        """Itself: it reads no file."""
        return self

    def build(
        self,
        canvas: int,
        device: torch.device,
        dtype: torch.dtype,
        layers: Sequence[int] = (),
        attention: bool = False,
        offline: bool = False,
    ) -> Backbone:
        """Draw the weights and place them; arguments and errors as in `Dinov2Spec.build`."""
        from extract.backbones.untrained import build_untrained

        return build_untrained(self, canvas, device, dtype, layers, attention)


BackboneSpec = Annotated[Dinov2Spec | UntrainedSpec, Field(discriminator="kind")]
