"""Position tables: from the side that a network was trained with to the patch grid of the canvas.

The official code has two ways, and the released weights expect their own: plain DINOv2 passes
`scale_factor = (n + 0.1) / side` and no antialias; the register variants pass `size = n` with
antialias. The difference is small for CLS and not for patches, so the way is part of the fingerprint.
Source: dinov2/models/vision_transformer.py, `interpolate_pos_encoding` (facebookresearch/dinov2).
"""

from torch import Tensor
from torch.nn import functional

from cache_schema.common.errors import ConfigError

OFFSET = 0.1
PLAIN = "dinov2-scale-offset-0.1-bicubic"
REGISTERS = "dinov2-size-bicubic-antialias"
NATIVE = "native"


def position_rule(registers: int, side: int, grid: tuple[int, int]) -> str:
    """Name of the way in which a table of `side` is brought to `grid`, as the fingerprint says it."""
    if grid == (side, side):
        return NATIVE
    return REGISTERS if registers else PLAIN


def resample_positions(table: Tensor, grid: tuple[int, int], rule: str) -> Tensor:
    """Resample a square table `(row, col, dim)` in float32 to the rows and cols of `grid`.

    Raises:
        ConfigError: If the rule's own arithmetic does not end at that grid.
    """
    if rule == NATIVE:
        return table.float()
    side = table.shape[0]
    image = table.float().permute(2, 0, 1)[None]
    if rule == REGISTERS:
        done = functional.interpolate(image, size=grid, mode="bicubic", antialias=True)
    else:
        scale = tuple((patches + OFFSET) / side for patches in grid)
        done = functional.interpolate(image, scale_factor=scale, mode="bicubic")
    if done.shape[-2:] != grid:
        raise ConfigError(
            f"the position table of side {side} does not resample to a grid of {grid[0]} x {grid[1]}"
        )
    return done[0].permute(1, 2, 0).contiguous()
