"""The arithmetic around the backbone, in float32 on its device: resampling, pooling, weighted means."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from extract.engines.device import to_device
from extract.slices.prepare import PreparedVolume
from extract.slices.resize import Resize
from extract.slices.tone import UNIT, Tone

TORCH = {
    "torch-bilinear": ("bilinear", False),
    "torch-bicubic": ("bicubic", False),
    "torch-bilinear-antialias": ("bilinear", True),
    "torch-bicubic-antialias": ("bicubic", True),
}
"""Mode and antialias of `interpolate`."""

RESAMPLE_SLICES = 32
"""Slices resampled at once; counted within a volume, so that no result depends on the batch."""


def canvas_images(prepared: PreparedVolume, device: torch.device) -> Tensor:
    """Grey values on the canvas, `(slice, height, width)`, mirrored where the view is."""
    made = _canvas_images(prepared, device)
    return made.flip(prepared.flipped) if prepared.flipped else made


def _canvas_images(prepared: PreparedVolume, device: torch.device) -> Tensor:
    """By weights, resized by torch, or as they come."""
    if prepared.resize is not None:
        return resized(as_tensor(prepared.images), prepared.resize, prepared.background, device)
    if prepared.row_weights is None or prepared.column_weights is None:
        return unit_scaled(to_device(as_tensor(prepared.images), device))
    rows, columns = (as_tensor(w).to(device) for w in (prepared.row_weights, prepared.column_weights))
    convert = unit_scaled
    if prepared.tone is not None:
        convert = partial(toned, tone=prepared.tone, background=prepared.background)
    made = resample(as_tensor(prepared.images), rows, columns, device, convert)
    return made + prepared.background if prepared.background else made


def foreground_share(prepared: PreparedVolume, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Share of each patch inside the foreground, `(slice, row, col)`, mirrored where the view is."""
    made = _foreground_share(prepared, grid, device)
    return made.flip(prepared.flipped) if prepared.flipped else made


def _foreground_share(prepared: PreparedVolume, grid: tuple[int, int], device: torch.device) -> Tensor:
    """On the canvas.

    Resampling and the mean over a patch are both linear: pooled weights do them in one, at a fraction of
    the products.
    """
    if prepared.resize is not None:
        # Without overshoot and aliasing, whatever the filter of the images is.
        soft = replace(prepared.resize, filter="torch-bilinear-antialias")
        return pool(resized(as_binary(as_tensor(prepared.mask)), soft, 0.0, device), grid)
    if prepared.row_weights is None or prepared.column_weights is None:
        return pool(as_binary(to_device(as_tensor(prepared.mask), device)), grid)
    rows, columns = (
        as_tensor(w).to(device).unflatten(0, (count, -1)).mean(dim=1)
        for w, count in zip((prepared.row_weights, prepared.column_weights), grid, strict=True)
    )
    return resample(as_tensor(prepared.mask), rows, columns, device, as_binary)


def resample(
    source: Tensor, rows: Tensor, columns: Tensor, device: torch.device, convert: Callable[[Tensor], Tensor]
) -> Tensor:
    """`rows @ image @ columns.T` for each image of `(slice, height, width)`, some slices at a time.

    Args:
        source: In the dtype in which it travels to the device; uint8 is a quarter of the way.
        rows: `(new height, height)`, float32.
        columns: `(new width, width)`, float32.
        device: Where the work is done.
        convert: To float32, after the transfer.
    """
    parts = source.split(RESAMPLE_SLICES)
    return torch.cat([rows @ (convert(to_device(part, device)) @ columns.T) for part in parts])


def resized(source: Tensor, resize: Resize, background: float, device: torch.device) -> Tensor:
    """Torch's own resize of `(slice, height, width)` in float32, some slices at a time, and what is shown.

    Args:
        source: Grey values.
        resize: Says the size, the kernel and the box.
        background: What lies beyond the resized slice.
        device: Where the work is done.
    """
    mode, antialias = TORCH[resize.filter]
    down, across = resize.box()
    below, right = resize.missing()
    parts = []
    for part in source.split(RESAMPLE_SLICES):
        made = functional.interpolate(
            to_device(part, device)[:, None].float(), size=resize.size, mode=mode, antialias=antialias
        )
        parts.append(functional.pad(made[:, 0, down, across], (0, right, 0, below), value=background))
    return torch.cat(parts)


def as_tensor(values: NDArray[np.generic]) -> Tensor:
    """A tensor over the array's own memory where it is contiguous."""
    return torch.from_numpy(np.ascontiguousarray(values))


def as_binary(mask: Tensor) -> Tensor:
    """1 inside the foreground, 0 outside, float32."""
    return (mask > 0).float()


def unit_scaled(images: Tensor) -> Tensor:
    """Float32; uint8 is brought to [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def toned(stored: Tensor, tone: Tone, background: float) -> Tensor:
    """`Tone.grey` less the background, on the device: the same operations in float32, so the same bits.

    Numbers are tensors: a GPU multiplies by the reciprocal of a plain divisor, which rounds otherwise.
    """

    def number(value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float32, device=stored.device)

    found = tone.standard
    out = stored.float().clamp_(number(tone.low), number(tone.high))
    if found is not None:
        out = out.sub_(number(found.mean)).div_(number(found.deviation))
    else:
        scale = float(np.float32(tone.high - tone.low))
        out = out.sub_(number(tone.low)).div_(number(scale)).clamp_(0.0, 1.0)
        low, high = tone.span
        if (low, high) != UNIT:
            out = out.mul_(number(high - low)).add_(number(low))
    return out.sub_(number(background)) if background else out


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
