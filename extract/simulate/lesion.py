"""Lesions: dark irregular blobs that grow from the white matter, drawn in the template's space."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extract.simulate.template import Template


@dataclass(frozen=True, slots=True)
class Lesion:
    """One blob: a sphere whose radius swings with the direction."""

    centre: tuple[float, float, float]
    """Template voxel (1 mm)."""
    radius: float
    """Mean radius in template voxels (1 mm)."""
    lobes: tuple[tuple[float, float, float], ...]
    """Wave vectors of the swing, in radians per millimetre."""
    phases: tuple[float, ...]
    darkening: float
    """Intensity inside, relative to healthy tissue."""


def draw_lesions(template: Template, seed: tuple[int, ...], darkening: float) -> tuple[Lesion, ...]:
    """One to four lesions at random places in the white matter."""
    rng = np.random.default_rng(seed)
    lesions = []
    for _ in range(int(rng.integers(1, 5))):
        centre = template.white[rng.integers(len(template.white))]
        radius = float(np.clip(rng.lognormal(np.log(6.0), 0.35), 3.0, 14.0))
        lobes = rng.standard_normal((3, 3)) * 2 / radius
        lesions.append(
            Lesion(
                centre=(float(centre[0]), float(centre[1]), float(centre[2])),
                radius=radius,
                lobes=tuple((float(x), float(y), float(z)) for x, y, z in lobes),
                phases=tuple(float(phase) for phase in rng.uniform(0, 2 * np.pi, 3)),
                darkening=darkening,
            )
        )
    return tuple(lesions)


def lesion_share(lesions: tuple[Lesion, ...], coordinates: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """How much of each point belongs to each lesion, 0 to 1 over a rim of 2 mm.

    Args:
        lesions: In the template's space.
        coordinates: `(3, x, y, z)`, template voxels of the points.

    Returns:
        One array `(x, y, z)` per lesion; a half marks the border.
    """
    shares = []
    for lesion in lesions:
        centre = np.asarray(lesion.centre, dtype=np.float32)[:, None]
        share = np.zeros(coordinates.shape[1:], dtype=np.float32)
        near = np.all(np.abs(coordinates - centre[..., None, None]) < 2 * lesion.radius + 2, axis=0)
        offset = coordinates[:, near] - centre
        swing = sum(
            np.sin(np.asarray(lobe, dtype=np.float32) @ offset + np.float32(phase))
            for lobe, phase in zip(lesion.lobes, lesion.phases, strict=True)
        )
        radius = np.float32(lesion.radius) * (1 + np.float32(0.2) * swing)
        distance = np.sqrt((offset**2).sum(axis=0))
        share[near] = np.clip((radius - distance) / 2 + np.float32(0.5), 0, 1)
        shares.append(share)
    return shares
