"""What published systems feed their backbone, written out on nibabel, Pillow and torch alone.

Used by the tests and by `benchmarks/presets.py`, which measures how far the presets lie from it. Stacks are
`(slice, row, column)` in the house orientation: slices upwards, row 0 anterior, column 0 the left side.
"""

import math
from pathlib import Path

import nibabel
import numpy as np
import torch
from PIL import Image


def house_stack(path: Path) -> np.ndarray:
    """The voxels in float32, oriented by nibabel."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    ras = np.asarray(image.dataobj, dtype=np.float32)
    return np.ascontiguousarray(ras[:, ::-1].transpose(2, 1, 0))


def cropped_or_padded(volume: np.ndarray, shape: tuple[int, ...], fill: float) -> np.ndarray:
    """torchio's CropOrPad: pads, then crops; of an odd number the larger half first."""
    short = [max(0, wanted - found) for wanted, found in zip(shape, volume.shape, strict=True)]
    padded = np.pad(volume, [(math.ceil(n / 2), n // 2) for n in short], constant_values=fill)
    long = [found - wanted for wanted, found in zip(shape, padded.shape, strict=True)]
    return padded[
        tuple(slice(math.ceil(n / 2), math.ceil(n / 2) + w) for n, w in zip(long, shape, strict=True))
    ]


def mst_mri(volume: np.ndarray, above: float | None = None) -> np.ndarray:
    """MST's MRI: crop or pad, clip to two percentiles, z-score, all in torch's float32.

    Args:
        volume: `(slice, row, column)`.
        above: Only voxels above this are counted: 0 for its breast MRI.
    """
    image = torch.from_numpy(cropped_or_padded(volume, (32, 224, 224), volume.min()).astype(np.float32))
    counted = torch.ones_like(image, dtype=torch.bool) if above is None else image > above
    low, high = torch.quantile(image[counted], torch.tensor([0.005, 0.995])).tolist()
    image = image.clamp(low, high)
    values = image[counted]
    if values.min() == values.max():
        raise ValueError("the standard deviation is 0")
    return ((image - values.mean()) / values.std()).numpy()


def mst_ct(volume: np.ndarray) -> np.ndarray:
    """MST's CT: -1000 to 1000 become -1 to 1."""
    image = torch.from_numpy(cropped_or_padded(volume, (32, 224, 224), volume.min()).astype(np.float32))
    image = image.clamp(-1000, 1000)
    image -= -1000
    image /= 2000
    image *= 2
    image += -1
    return image.numpy()


def eight_bits(stack: np.ndarray, low: float, high: float) -> np.ndarray:
    """Slices as the PNG files that detectors read: one window for the volume."""
    low, high = np.float32(low), np.float32(np.float64(high) - np.float64(low))
    unit = np.clip((np.clip(stack, low, np.float32(high + low)) - low) / high, 0, 1)
    return np.rint(unit * np.float32(255)).astype(np.uint8)


def shorter_edge(grey: np.ndarray, edge: int = 448, patch: int = 14) -> np.ndarray:
    """AnomalyDINO and DPMM: Pillow's bicubic of an RGB image, shorter edge first, cut to whole patches."""
    out = []
    for image in grey:
        height, width = image.shape
        size = (edge, int(edge * height / width)) if width <= height else (int(edge * width / height), edge)
        rgb = np.asarray(Image.fromarray(image).convert("RGB").resize(size, Image.Resampling.BICUBIC))
        rows, columns = rgb.shape[0] - rgb.shape[0] % patch, rgb.shape[1] - rgb.shape[1] % patch
        out.append(rgb[:rows, :columns, 1])
    return np.stack(out)


def stretched(grey: np.ndarray, side: int = 448) -> np.ndarray:
    """The spatial AR: Pillow's bilinear of an RGB image to a square."""
    images = [
        Image.fromarray(image).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        for image in grey
    ]
    return np.stack([np.asarray(image)[..., 1] for image in images])


def normalised(grey: np.ndarray) -> torch.Tensor:
    """ToTensor and Normalize with ImageNet's numbers, of one slice `(3, row, column)`."""
    pixels = torch.from_numpy(np.ascontiguousarray(grey)).expand(3, -1, -1).float().div(255)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return pixels.sub(mean).div(std)
