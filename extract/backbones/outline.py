"""A backbone's sizes without its weights, so that `plan` can tell how large a store gets."""

from dataclasses import dataclass

from extract.backbones.spec import Dinov2Spec, UntrainedSpec

DINOV2 = {"small": (384, 6), "base": (768, 12), "large": (1024, 16), "giant": (1536, 24)}
"""Dim and heads of the releases, all with patches of 14 px."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What decides the shape of the arrays."""

    dim: int
    heads: int
    grid: tuple[int, int]


def outline(spec: Dinov2Spec | UntrainedSpec, canvas: int) -> Outline | None:
    """Sizes of a spec; None when only its files on the network know them.

    Raises:
        ConfigError: If a local folder has no usable config.
    """
    if isinstance(spec, UntrainedSpec):
        from extract.backbones.untrained import SIZES

        _, dim, heads = SIZES[spec.size]
        return Outline(dim, heads, (canvas // 14, canvas // 14))
    if spec.path is not None:
        from extract.backbones.dinov2 import checkpoint_folder, shape_from_config
        from extract.backbones.weights import read_config

        folder = checkpoint_folder(spec, offline=True)
        shape = shape_from_config(read_config(folder), f"the backbone in {str(folder)!r}")
        side = canvas // shape.patch_size
        return Outline(shape.dim, shape.heads, (side, side))
    if spec.repository is not None:
        return None
    dim, heads = DINOV2[spec.size]
    return Outline(dim, heads, (canvas // 14, canvas // 14))
