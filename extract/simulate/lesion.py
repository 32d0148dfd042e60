"""Lesions: where they are and what they do to the signal, drawn in the template's space.

Places are irregular blobs that grow from the white matter, or masks of the user's (see `masks`). What they
do is one of two: `dark` lowers the intensity; `texture` leaves each lesion's mean as it was and adds a grain
of waves some millimetres long, which no intensity threshold finds.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from extract.simulate.template import Template

Change = Literal["dark", "texture"]

WAVES = 24
"""Plane waves that a texture is the sum of."""

WAVELENGTH_MM = (5.0, 10.0)
"""Shortest and longest; coarse voxels cannot hold shorter ones."""

GRAIN = 0.12
"""Standard deviation of the texture, relative to the tissue's own intensity.

White matter then stays between gray matter and its own brightest voxels under a usual intensity bias, so that
no threshold parts lesion from brain.
"""


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


@dataclass(frozen=True, slots=True)
class Texture:
    """A sum of plane waves in the template's space: the same grain in every session and voxel size."""

    waves: NDArray[np.float32]
    """`(wave, 3)`: radians per millimetre."""
    phases: NDArray[np.float32]
    """`(wave,)`."""

    def at(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(point,)` at template voxels `(3, point)`: mean 0 and variance 1 over space, within 2."""
        total = np.zeros(points.shape[1], dtype=np.float32)
        for wave, phase in zip(self.waves, self.phases, strict=True):
            total += np.cos(wave @ points + phase)
        return np.clip(total * np.float32((2 / len(self.waves)) ** 0.5), -2.0, 2.0)


def draw_texture(seed: tuple[int, ...]) -> Texture:
    """A texture with waves in all directions."""
    rng = np.random.default_rng((*seed, 1))
    directions = rng.standard_normal((WAVES, 3))
    lengths = rng.uniform(*WAVELENGTH_MM, WAVES)
    waves = directions / np.linalg.norm(directions, axis=1, keepdims=True) * (2 * np.pi / lengths)[:, None]
    phases = rng.uniform(0, 2 * np.pi, WAVES)
    return Texture(waves.astype(np.float32), phases.astype(np.float32))


def retexture(
    signal: NDArray[np.float32],
    share: NDArray[np.float32],
    coordinates: NDArray[np.float32],
    texture: Texture,
) -> None:
    """Give one lesion the texture, in place; the sum of its signal, weighted by share, stays what it was.

    Args:
        signal: `(x, y, z)`, 0 and above.
        share: How much of each point belongs to the lesion, 0 to 1.
        coordinates: `(3, x, y, z)`, template voxels of the points.
        texture: Of the participant.
    """
    inside = share > 0
    tissue, part = signal[inside], share[inside]
    weight = (tissue * part).astype(np.float64)
    if not weight.sum():
        return
    grain = texture.at(coordinates[:, inside])
    # Centred by what it multiplies, so that the lesion is neither brighter nor darker as a whole.
    grain -= np.float32((weight * grain).sum() / weight.sum())
    signal[inside] = tissue * (1 + np.float32(GRAIN) * part * grain)


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
