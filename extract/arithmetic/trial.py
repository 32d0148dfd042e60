"""Slices to try an arithmetic on: smooth shapes of many sizes, as unlike each other as slices of heads."""

import numpy as np
import torch
from torch import Tensor

from extract.slices.sides import Canvas, sides

WAVES = 16
NOISE = 0.1
OUTSIDE = -2.0
"""Of background, in units of the normalised pixels."""


def trial_slices(canvas: Canvas, count: int, seed: int = 0) -> Tensor:
    """Normalised pixels `(count, 3, height, width)`: sums of waves inside ellipses, drawn from a seed."""
    height, width = sides(canvas)
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    made = np.empty((count, height, width), dtype=np.float32)
    for image in made:
        values = rng.normal(0, NOISE, image.shape)
        for octave in 1 + np.arange(WAVES) // 4:
            fast, slow = rng.normal(0, 2 * octave, 2)
            values += rng.normal() / octave * np.cos(fast * down + slow * across + rng.uniform(0, 2 * np.pi))
        radii = rng.uniform(0.3, 0.9) * np.array([1, rng.uniform(0.8, 1.2)])
        inside = (down / radii[0]) ** 2 + (across / radii[1]) ** 2 < 1
        image[:] = np.where(inside, values, OUTSIDE)
    return torch.from_numpy(made)[:, None].repeat(1, 3, 1, 1)
