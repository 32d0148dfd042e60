"""The canvas: weights against a slow loop, millimetres kept, landmarks found again, Pillow matched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from extract.slices.canvas import (
    Axis,
    CropCanvas,
    FieldCanvas,
    canvas_to_native,
    field_axes,
    middle,
    outside_share,
    triangle_weights,
)
from extract.slices.resize import resize_of, resize_with_pillow, resized_axes

pytestmark = pytest.mark.numerics


def slow_weights(origin: float, step: float, source: int, pixels: int) -> np.ndarray:
    """The definition, one number at a time."""
    weights = np.zeros((pixels, source))
    for out in range(pixels):
        centre = origin + step * out
        if not -0.5 <= centre <= source - 0.5:
            continue
        for pixel in range(source):
            weights[out, pixel] = max(0.0, 1.0 - abs(centre - pixel) / max(1.0, step))
        weights[out] /= weights[out].sum()
    return weights


@given(st.floats(-40, 40), st.floats(0.2, 5), st.integers(1, 37), st.integers(1, 41))
def test_weights_are_the_triangle_filter(origin, step, source, pixels):
    fast = triangle_weights(origin, step, source, pixels)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, slow_weights(origin, step, source, pixels), atol=1e-6)


def test_at_the_stored_size_the_weights_are_the_identity():
    np.testing.assert_array_equal(triangle_weights(0.0, 1.0, 13, 13), np.eye(13, dtype=np.float32))


def test_shrinking_keeps_the_mean_where_plain_interpolation_would_alias():
    comb = np.tile([0.0, 1.0], 60)
    shrunk = triangle_weights(1.5, 4.0, 120, 30) @ comb
    np.testing.assert_allclose(shrunk[1:-1], 0.5, atol=1e-6)


def ellipsoid(shape, spacing, centre_mm=(0.0, 0.0, 0.0), radii=(60.0, 85.0, 70.0)):
    """A head-like blob `(slice, row, column)` sampled at any spacing and field of view."""
    grids = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
    )
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grids, centre_mm, radii, strict=True)) <= 1


@pytest.mark.parametrize(
    ("shape", "spacing", "shift"),
    [
        ((41, 200, 233), (4.0, 1.2, 0.94), (0, 0, 0)),
        ((41, 251, 229), (4.0, 0.94, 0.94), (0, 0, 0)),
        ((41, 301, 261), (4.0, 0.94, 0.94), (0, 23.3, -17.1)),
        ((41, 120, 101), (4.0, 2.0, 2.0), (0, 0.7, 0.3)),
    ],
)
def test_outlines_agree_within_a_pixel_whatever_the_voxels_and_the_field_of_view(shape, spacing, shift):
    mask = ellipsoid(shape, spacing, shift)
    rows, columns = field_axes(FieldCanvas(), mask, spacing[1:])
    image = rows.weights() @ mask[20].astype(np.float32) @ columns.weights().T
    expected = ellipsoid((1, 224, 224), (1.0, 1.0, 1.0))[0]
    shown = image > 0.5
    for axis in (0, 1):
        ours, theirs = (np.flatnonzero(each.any(axis=axis))[[0, -1]] for each in (shown, expected))
        assert np.abs(ours - theirs).max() <= 1


def test_a_native_field_shows_the_whole_longer_side_with_square_pixels():
    mask = np.ones((3, 50, 80), dtype=bool)
    rows, columns = field_axes(FieldCanvas(field_mm="native", pixels=56), mask, (2.0, 1.0))
    assert rows.step * 2.0 == pytest.approx(columns.step * 1.0) == pytest.approx(100 / 56)
    assert outside_share(mask, rows, columns) == 0.0


def test_middle_ignores_a_stray_voxel_and_empty_margins():
    profile = np.zeros(101)
    profile[30:61] = 40
    assert middle(profile, 0.01) == pytest.approx(45.0)
    profile[99] = 1
    assert middle(profile, 0.01) == pytest.approx(45.0, abs=0.05)
    assert middle(np.concatenate([np.zeros(17), profile]), 0.01) == pytest.approx(62.0, abs=0.05)


def test_what_falls_outside_is_counted():
    mask = np.ones((2, 10, 10), dtype=bool)
    inside = Axis(origin=0.0, step=1.0, source=10, pixels=10)
    half = Axis(origin=5.0, step=1.0, source=10, pixels=10)
    assert outside_share(mask, inside, inside) == 0.0
    assert outside_share(mask, half, inside) == 0.5


@pytest.mark.parametrize("size", [(91, 109), (109, 91), (300, 260), (224, 224), (61, 503)])
def test_crop_is_pillows_resize_and_a_centre_crop(size):
    image = np.random.default_rng(3).integers(0, 256, size).astype(np.uint8)
    height, width = size
    new = (256, int(256 * width / height)) if height <= width else (int(256 * height / width), 256)
    resized = np.asarray(Image.fromarray(image).resize((new[1], new[0]), Image.Resampling.BILINEAR))
    top, left = round((new[0] - 224) / 2), round((new[1] - 224) / 2)
    expected = resized[top : top + 224, left : left + 224]
    np.testing.assert_array_equal(
        resize_with_pillow(image[None], resize_of(CropCanvas(), *image.shape), 0)[0], expected
    )


def test_crop_geometry_is_where_pillow_puts_a_point():
    spec = CropCanvas(resize=64, pixels=56)
    image = np.zeros((101, 83), dtype=np.uint8)
    image[40:43, 30:33] = 255  # centred on (41, 31)
    grey = resize_with_pillow(image[None], resize_of(spec, *image.shape), 0)[0].astype(float)
    rows, columns = resized_axes(resize_of(spec, 101, 83), 101, 83)
    row, column = (np.average(np.arange(56), weights=grey.sum(axis=axis)) for axis in (1, 0))
    assert rows.origin + rows.step * row == pytest.approx(41, abs=0.1)
    assert columns.origin + columns.step * column == pytest.approx(31, abs=0.1)


def test_canvas_to_native_is_the_composition():
    to_native = np.array([[0, -1, 0, 40.0], [0, 0, 1, 0], [-1, 0, 0, 30], [0, 0, 0, 1]])
    rows, columns = Axis(2.5, 0.5, 31, 20), Axis(-3.0, 2.0, 41, 20)
    matrix = canvas_to_native(to_native, rows, columns)
    row, column, index = 7, 11, 5
    expected = [40 - (-3.0 + 2.0 * column), index, 30 - (2.5 + 0.5 * row)]
    np.testing.assert_allclose(matrix @ [row, column, index, 1], expected)


def test_impossible_canvases_are_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 10"):
        FieldCanvas(field_mm=-3)
    with pytest.raises(ValidationError, match="must fit"):
        CropCanvas(resize=100, pixels=224)
