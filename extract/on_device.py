"""The arithmetic around the backbone, in float32 on its device: resampling, pooling, weighted means."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from extract.device import to_device
from extract.prepare import Prepared

RESAMPLE_SLICES = 32
"""Slices resampled at once; counted within a volume, so that no result depends on the batch."""


def on_canvas(
    images: NDArray[np.generic],
    prepared: Prepared,
    device: torch.device,
    convert: Callable[[Tensor], Tensor],
) -> Tensor:
    """Bring `(slice, height, width)` to the canvas: `rows @ image @ columns.T`, float32, on the device.

    Args:
        images: In the dtype in which they travel; uint8 is a quarter of the way.
        prepared: Holds the weights; without them the images are on the canvas already.
        device: Where the work is done.
        convert: To float32, after the transfer.
    """
    source = torch.from_numpy(np.ascontiguousarray(images))
    if prepared.row_weights is None or prepared.column_weights is None:
        return convert(to_device(source, device))
    rows = torch.from_numpy(np.ascontiguousarray(prepared.row_weights, np.float32)).to(device)
    columns = torch.from_numpy(np.ascontiguousarray(prepared.column_weights, np.float32)).to(device)
    parts = source.split(RESAMPLE_SLICES)
    return torch.cat([rows @ (convert(to_device(part, device)) @ columns.T) for part in parts])


def scaled(images: Tensor) -> Tensor:
    """Float32; uint8 is brought to [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def pool(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean over each patch: `(slice, height, width)` -> `(slice, row, col)`."""
    rows, cols = grid
    size = (images.shape[1] // rows, images.shape[2] // cols)
    return functional.avg_pool2d(images[:, None], size)[:, 0]


def patch_mean(patches: Tensor, share: Tensor) -> Tensor:
    """Mean patch token weighted by foreground share, `(slice, dim)`; over all patches where there is none.

    Args:
        patches: `(slice, row, col, dim)`, float32.
        share: `(slice, row, col)`.
    """
    weights = share.flatten(1)
    total = weights.sum(dim=1, keepdim=True)
    weights = torch.where(total > 0, weights / total.clamp_min(1e-30), 1.0 / weights.shape[1])
    return torch.bmm(weights[:, None], patches.flatten(1, 2))[:, 0]
