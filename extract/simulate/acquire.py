"""The scanner: from an anatomy to a NIfTI image with spacing, orientation, bias, noise and codes."""

from dataclasses import dataclass
from typing import Literal

import nibabel
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray
from scipy import ndimage

from extract.simulate.deform import Anatomy, to_template
from extract.simulate.lesion import Lesion, Texture, lesion_share, retexture
from extract.simulate.masks import MaskLesion, mask_share
from extract.simulate.stroke import Stroke, stroke_share
from extract.simulate.template import Template

FIELD_MM = ((-82.0, 82.0), (-120.0, 84.0), (-80.0, 92.0))
"""World box (x, y, z) that every field of view covers before its margin."""

EDGE = 0.12
"""Template intensity that parts brain from background; fluid inside the brain lies at 0.25."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a volume is acquired and stored."""

    spacing_mm: tuple[float, float, float]
    """Along right, anterior and superior."""
    orientation: str
    """Axis codes of the stored array, e.g. `PSR`."""
    dtype: Literal["int16", "float32"]
    codes: tuple[int, int]
    """qform and sform code."""
    tilt_degrees: float
    """Of the field of view about the left-right axis."""
    margin_mm: tuple[float, float, float]
    """Added to the field of view on both sides of every axis."""
    gamma: float
    """Contrast: exponent of the template's intensity."""
    gain: float
    """Stored intensity of 1."""
    noise: float
    """Standard deviation of the noise, as a share of 1."""
    bias: float
    """Size of the intensity bias: 0.2 is about 20 % up and down."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How the head lies in the scanner."""

    rotation_degrees: tuple[float, float, float]
    """About the right, anterior and superior axis, in that order."""
    shift_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Acquired:
    """A volume and the lesions in it, on one grid."""

    image: nibabel.Nifti1Image
    lesions: nibabel.Nifti1Image | None


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """Rotation matrix (3, 3): about x, then y, then z."""
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    product: NDArray[np.float64] = about_z @ about_y @ about_x
    return product


def field_of_view(protocol: Protocol) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine (4, 4) of the RAS+ grid, tilted about its own centre."""
    box = np.array(FIELD_MM) + np.outer(protocol.margin_mm, (-1, 1))
    spacing = np.array(protocol.spacing_mm)
    shape = np.round((box[:, 1] - box[:, 0]) / spacing).astype(int)
    turn = rotation((protocol.tilt_degrees, 0, 0))
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = box.mean(axis=1) - affine[:3, :3] @ ((shape - 1) / 2)
    return (int(shape[0]), int(shape[1]), int(shape[2])), affine


def head_points(shape: tuple[int, int, int], affine: NDArray[np.float64], pose: Pose) -> NDArray[np.float32]:
    """Where the voxels of a grid lie in the head's own millimetres, `(3, *shape)`."""
    turn = rotation(pose.rotation_degrees).T
    step = (turn @ affine[:3, :3]).astype(np.float32)
    origin = (turn @ (affine[:3, 3] - np.array(pose.shift_mm))).astype(np.float32)
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    i, j, k = i.astype(np.float32), j.astype(np.float32), k.astype(np.float32)
    return np.stack([step[a, 0] * i + step[a, 1] * j + step[a, 2] * k + origin[a] for a in range(3)])


def acquire(
    template: Template,
    anatomy: Anatomy,
    lesions: tuple[Lesion, ...] | MaskLesion | Stroke,
    protocol: Protocol,
    pose: Pose,
    seed: tuple[int, ...],
    texture: Texture | None = None,
) -> Acquired:
    """Scan a head: sample the template through its anatomy, then contrast, bias, noise and storage.

    Args:
        template: The brain.
        anatomy: Its shape.
        lesions: Blobs, one mask's, or one of a given volume.
        protocol: How it is scanned.
        pose: How the head lies.
        seed: Of bias and noise.
        texture: What lesions look like; None for dark ones.
    """
    rng = np.random.default_rng(seed)
    shape, affine = field_of_view(protocol)
    coordinates = to_template(head_points(shape, affine, pose), anatomy, template)
    t1 = ndimage.map_coordinates(template.t1, coordinates, order=1, mode="constant")
    brain = t1 > EDGE
    signal = np.maximum(t1, 0) ** np.float32(protocol.gamma)
    if isinstance(lesions, MaskLesion):
        share, darkening = [mask_share(lesions, coordinates, template)], [lesions.darkening]
    elif isinstance(lesions, Stroke):
        share, darkening = [stroke_share(lesions, coordinates)], [lesions.darkening]
    else:
        share, darkening = lesion_share(lesions, coordinates), [lesion.darkening for lesion in lesions]
    for left, part in zip(darkening, share, strict=True):
        if texture is None:
            signal *= 1 - np.float32(1 - left) * part
        else:
            retexture(signal, part * brain, coordinates, texture)
    signal *= bias_field(shape, protocol.bias, rng)
    signal = add_rician_noise(signal, protocol.noise, rng)
    signal[~brain] = 0
    stored = (signal * np.float32(protocol.gain)).astype(np.float32)
    mask = np.max(share, axis=0) > 0.5 if share else None
    return Acquired(
        store(stored, affine, protocol, protocol.dtype),
        None if mask is None else store((mask & brain).astype(np.uint8), affine, protocol, "uint8"),
    )


def bias_field(shape: tuple[int, int, int], size: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth positive field around 1: the exponential of a random quadratic over the grid."""
    axes = [
        np.linspace(-1, 1, n, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, n in enumerate(shape)
    ]
    linear, square = rng.standard_normal(3).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    cross = np.float32(rng.standard_normal())
    field = cross * axes[0] * axes[1] + sum(
        linear[a] * axes[a] + square[a] * (axes[a] ** 2 - np.float32(1 / 3)) for a in range(3)
    )
    return np.asarray(np.exp(field * np.float32(size / max(float(np.abs(field).max()), 1e-6))))


def add_rician_noise(
    signal: NDArray[np.float32], size: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Magnitude of the signal with complex Gaussian noise, as a magnitude image has it."""
    real = signal + np.float32(size) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(size) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.hypot(real, imaginary)


def store(
    array: NDArray[np.generic], affine: NDArray[np.float64], protocol: Protocol, dtype: str
) -> nibabel.Nifti1Image:
    """Turn a RAS+ array into the stored orientation, with dtype, units and codes set."""
    turn = orientations.ornt_transform(
        orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(protocol.orientation)
    )
    turned = orientations.apply_orientation(array, turn)
    if dtype == "int16":
        turned = np.round(turned)
    image = nibabel.Nifti1Image(
        np.ascontiguousarray(turned.astype(dtype)), affine @ orientations.inv_ornt_aff(turn, array.shape)
    )
    qform, sform = protocol.codes
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(image.affine, code=qform, update_affine=False)
    image.set_sform(image.affine if sform else None, code=sform, update_affine=False)
    return image
