"""Foreground rules on made volumes whose answer is known."""

import numpy as np
import pytest

from cache_schema.common.errors import VolumeError
from extract.slices.foreground import (
    ForegroundSpec,
    border_value,
    fill_holes,
    find_foreground,
    largest_component,
    mask_voxels,
    otsu,
)


def ball(shape, radius):
    grids = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij")
    return sum(g**2 for g in grids) <= radius**2


@pytest.fixture
def brain():
    """A stripped brain of 2 mm voxels on a background of 0."""
    inside = ball((61, 67, 53), 22)
    texture = np.random.default_rng(0).uniform(50, 100, inside.shape)
    return np.where(inside, texture, 0).astype(np.float32), inside


def test_a_clean_background_is_stripped(brain):
    data, inside = brain
    found = find_foreground(data, 0.008, ForegroundSpec())
    assert found.kind == "stripped"
    np.testing.assert_array_equal(found.mask, inside)


def test_the_border_value_need_not_be_zero(brain):
    data, inside = brain
    found = find_foreground(np.where(inside, data, -1024).astype(np.float32), 0.008, ForegroundSpec())
    assert found.kind == "stripped"
    np.testing.assert_array_equal(found.mask, inside)


def test_noisy_air_quantised_to_many_zeros_is_a_head(brain):
    """A third of the air is exactly 0 in 8-bit files of whole heads: share alone would call them stripped."""
    data, inside = brain
    noise = np.random.default_rng(1).integers(0, 3, data.shape)
    noisy = np.where(inside, data, noise).astype(np.float32)
    value, clean = border_value(noisy)
    assert (noisy == value).mean() > 0.2
    assert clean < 0.5
    found = find_foreground(noisy, 0.008, ForegroundSpec())
    assert found.kind == "head"
    np.testing.assert_array_equal(found.mask, inside)


def test_more_than_any_brain_on_a_clean_background_is_a_head(brain):
    data, _ = brain
    assert find_foreground(data, 0.1, ForegroundSpec()).kind == "head"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_holes_fill_slice_by_slice_even_when_open_along_the_sliced_axis(axis):
    tube = np.zeros((11, 13, 17), dtype=bool)
    tube = np.moveaxis(tube, axis, 0)
    tube[:, 2:8, 2:8] = True
    expected = tube.copy()
    tube[:, 4:6, 4:6] = False  # open at both ends
    tube, expected = np.moveaxis(tube, 0, axis), np.moveaxis(expected, 0, axis)
    np.testing.assert_array_equal(fill_holes(tube, axis), expected)
    other = (axis + 1) % 3
    np.testing.assert_array_equal(fill_holes(tube, other), tube)


def test_memory_order_changes_nothing(brain):
    data, inside = brain
    noisy = np.where(inside, data, np.random.default_rng(1).integers(0, 3, data.shape)).astype(np.float32)
    noisy[30, :, 20:30] = 0
    first = find_foreground(noisy, 0.008, ForegroundSpec(), axis=1)
    second = find_foreground(np.asfortranarray(noisy), 0.008, ForegroundSpec(), axis=1)
    np.testing.assert_array_equal(first.mask, second.mask)


def test_otsu_is_the_best_of_all_thresholds():
    generator = np.random.default_rng(2)
    data = np.concatenate([generator.normal(10, 3, 4001), generator.normal(60, 9, 1999)]).reshape(10, 20, 30)
    low, high = float(data.min()), float(data.max())

    def between(threshold):
        above = data > threshold
        share = above.mean()
        return share * (1 - share) * (data[above].mean() - data[~above].mean()) ** 2

    best = max(between(threshold) for threshold in np.linspace(low, high, 255)[1:-1])
    assert between(otsu(data, low, high)) >= best * 0.999


def test_only_the_largest_component_stays():
    mask = np.zeros((7, 8, 9), dtype=bool)
    mask[1:4, 1:4, 1:4] = True
    mask[5, 6, 7] = True
    kept = largest_component(mask)
    assert kept.sum() == 27
    assert not kept[5, 6, 7]
    np.testing.assert_array_equal(largest_component(kept), kept)


def test_huge_outliers_do_not_overflow(brain):
    data, inside = brain
    noisy = np.where(inside, data, np.random.default_rng(1).integers(0, 3, data.shape)).astype(np.float32)
    noisy[30, 30, 20] = 3e38
    noisy[30, 30, 21] = -3e38
    assert find_foreground(noisy, 0.008, ForegroundSpec()).mask.sum() == pytest.approx(inside.sum(), abs=30)


def test_constant_and_nearly_constant_volumes_are_refused():
    with pytest.raises(VolumeError, match="every voxel is 7"):
        find_foreground(np.full((5, 6, 7), 7.0), 0.008, ForegroundSpec())
    data = np.zeros((31, 30, 29), dtype=np.float32)
    data[3, 3, 0] = 1.0
    data[0, :, :] = np.random.default_rng(0).uniform(0, 1e-30, (30, 29))
    with pytest.raises(VolumeError, match=r"nearly every voxel|no foreground"):
        find_foreground(data[:, :, :] * 0 + (data == 1), 1.0, ForegroundSpec(border_share=1.0))


def test_masks_are_cut_at_a_half():
    np.testing.assert_array_equal(mask_voxels(np.array([0, 0.4, 0.5, 1, 255, -1])), [0, 0, 1, 1, 1, 0])
    with pytest.raises(VolumeError, match="empty"):
        mask_voxels(np.zeros((3, 3, 3)))
