"""One lesion of a given volume per patient, shaped as a stroke is: ragged, longer one way, in one hemisphere.

Its volume is met to the cubic millimetre in the template's space, by tissue alone: fluid and what lies
outside the brain are no part of it. Volumes are log-normal. Of the 655 chronic strokes traced in ATLAS v2.0
(Liew et al., Sci Data 9:320, 2022) the smallest has 0.01 ml, the median 5 ml and the largest 497 ml; its
first release had a mean of 21 ml and a standard deviation of 39 ml (Liew et al., Sci Data 5:180011, 2018),
which is a log-normal with a median of 10 ml and `SPREAD`. Strokes that leave an aphasia are larger: the
twelve masks that LESYMAP (Pustina et al., Hum Brain Mapp 39:4169, 2018) gives away have 9 to 253 ml, 160 in
the median.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from extract.simulate.template import Template

SPREAD = 1.2
"""Standard deviation of the logarithm of the volume."""
SMALLEST_ML, LARGEST_ML = 0.1, 250.0
"""No drawn volume lies further out: some voxels, and what the largest strokes take of a hemisphere."""
TISSUE = 0.4
"""Template intensity that parts fluid (0.25) from gray matter."""
MIDLINE_MM = 2.0
"""How far from the middle a lesion ends."""
LENGTH = 0.25
"""Standard deviation of the logarithm of the three axes."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A lesion as a box of the template's voxels."""

    share: NDArray[np.float32]
    """`(x, y, z)`: how much of a voxel belongs to it, 0 to 1 over a rim of 2 mm."""
    corner: tuple[int, int, int]
    """The box's first voxel."""
    darkening: float
    """Intensity inside, relative to healthy tissue."""


def stroke_ml(seed: tuple[int, ...], median_ml: float) -> float:
    """The volume of one participant's lesion."""
    drawn = median_ml * np.exp(SPREAD * np.random.default_rng((*seed, 3)).standard_normal())
    return float(np.clip(drawn, SMALLEST_ML, LARGEST_ML))


def draw_stroke(template: Template, seed: tuple[int, ...], darkening: float, median_ml: float) -> Stroke:
    """Grow a lesion from a place in the white matter until it has its volume."""
    rng = np.random.default_rng(seed)
    centre = template.white[rng.integers(len(template.white))]
    volume = 1000 * stroke_ml(seed, median_ml)
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    axes = np.exp(LENGTH * rng.standard_normal(3))
    lobes, phases = rng.standard_normal((3, 3)) * 2 / radius, rng.uniform(0, 2 * np.pi, 3)
    # Wide enough for a lesion that finds half of its room taken by fluid, the midline and the outside.
    reach = int(np.ceil(3 * radius + 4))
    low = np.maximum(centre - reach, 0)
    high = np.minimum(centre + reach + 1, template.t1.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    places = np.ogrid[box]
    offset = np.stack(np.broadcast_arrays(*(p - c for p, c in zip(places, centre, strict=True)))).astype(
        np.float32
    )
    swing = sum(
        np.sin(np.tensordot(lobe, offset, axes=1) + phase) for lobe, phase in zip(lobes, phases, strict=True)
    )
    stretched = offset / (axes / axes.prod() ** (1 / 3))[:, None, None, None]
    distance = np.sqrt((stretched**2).sum(axis=0)) / (1 + 0.2 * swing)
    # Only on its own side, and in tissue.
    right = template.affine[0, 3] + template.affine[0, 0] * places[0]
    side = np.sign(template.affine[0, 3] + template.affine[0, 0] * centre[0]) or 1.0
    free = (template.t1[box] > TISSUE) & (right * side > MIDLINE_MM)
    voxel = abs(float(np.linalg.det(template.affine[:3, :3])))
    wanted = min(round(volume / voxel), int(free.sum()))
    edge = np.partition(distance[free], wanted - 1)[wanted - 1]
    share = np.clip((edge - distance) / 2 + 0.5, 0, 1) * free
    return Stroke(share.astype(np.float32), (int(low[0]), int(low[1]), int(low[2])), darkening)


def stroke_share(lesion: Stroke, coordinates: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of each point belongs to the lesion, 0 to 1.

    Args:
        lesion: In the template's space.
        coordinates: `(3, x, y, z)`, template voxels of the points.
    """
    places = coordinates - np.array(lesion.corner, dtype=np.float32)[:, None, None, None]
    return np.asarray(
        ndimage.map_coordinates(lesion.share, places, order=1, mode="constant"), dtype=np.float32
    )
