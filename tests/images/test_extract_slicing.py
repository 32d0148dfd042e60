"""Slice rules: every one against a loop over heights, and the vertex against its definition."""

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cache_schema.common.errors import VolumeError
from extract.slices.rules import (
    All,
    Band,
    Center,
    CropOrPad,
    Every,
    Extent,
    SliceRule,
    Uniform,
    WithForeground,
    find_extent,
)


def test_vertex_is_the_highest_slice_with_five_square_centimetres():
    mask = np.zeros((11, 30, 40), dtype=bool)
    mask[2:9, :20, :25] = True  # 500 pixels of 1 mm2
    mask[1, :20, :24] = True  # 480: not enough
    mask[9, 0, 0] = True  # a stray voxel
    extent = find_extent(mask, area_mm2=1.0, spacing_mm=3.0, min_area_cm2=5.0)
    assert (extent.low, extent.high, extent.vertex) == (2, 8, 8)
    np.testing.assert_allclose(extent.heights()[[10, 8, 7, 2]], [-6.0, 0.0, 3.0, 18.0])


def test_an_axis_that_points_down_counts_from_its_other_end():
    mask = np.zeros((11, 30, 40), dtype=bool)
    mask[2:9] = True
    extent = find_extent(mask, 1.0, 3.0, 5.0, up=-1)
    assert extent.vertex == 2
    np.testing.assert_allclose(extent.heights()[[0, 2, 8]], [-6.0, 0.0, 18.0])


def test_too_little_foreground_says_how_little():
    mask = np.zeros((5, 7, 11), dtype=bool)
    mask[3, 2, 2:6] = True
    with pytest.raises(VolumeError, match=r"no slice has 5 cm2.*the largest has 0\.2 cm2"):
        find_extent(mask, 4.0, 2.0, 5.0)


EXTENT = Extent(n=97, low=13, high=83, spacing_mm=1.7)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (All(), range(97)),
        (WithForeground(), range(13, 84)),
        (Center(n=10), range(43, 53)),
        (Center(n=10, of="array"), range(43, 53)),
        (Center(n=11, of="array"), range(43, 54)),
        (Center(n=500), range(13, 84)),
        (Uniform(n=500), range(13, 84)),
        (Uniform(n=1), [48]),
    ],
)
def test_rules(rule, expected):
    np.testing.assert_array_equal(rule.keep(EXTENT), list(expected))


def test_center_of_array_and_of_foreground_differ_when_the_neck_is_in():
    extent = Extent(n=100, low=40, high=99, spacing_mm=1.0)
    np.testing.assert_array_equal(Center(n=4).keep(extent), [68, 69, 70, 71])
    np.testing.assert_array_equal(Center(n=4, of="array").keep(extent), [48, 49, 50, 51])


@pytest.mark.parametrize("n", [1, 13, 24, 25, 40, 49, 50, 51, 97])
def test_the_released_wrap_is_pythons_slice(n):
    released = np.arange(n)[n // 2 - 25 : n // 2 + 25]
    rule = Center(n=50, of="array", short="wrap")
    np.testing.assert_array_equal(rule.keep(Extent(n, 0, n - 1, 1.0)), released)


def test_forty_slices_wrap_to_five_as_released_and_clip_to_forty_in_ours():
    extent = Extent(40, 0, 39, 1.0)
    assert len(Center(n=50, of="array", short="wrap").keep(extent)) == 5
    assert len(Center(n=50, of="array").keep(extent)) == 40


def test_every_takes_the_nearest_slice_to_each_step():
    kept = Every(step_mm=4.0).keep(EXTENT)
    expected = set()
    height = 0.0
    while height <= (83 - 13) * 1.7:
        expected.add(83 - round(height / 1.7))
        height += 4.0
    np.testing.assert_array_equal(kept, sorted(expected))


def test_band_without_a_step_keeps_all_heights_inside():
    kept = Band(from_vertex_mm=(10, 60)).keep(EXTENT)
    expected = [k for k in range(97) if 13 <= k <= 83 and 10 <= (83 - k) * 1.7 <= 60]
    np.testing.assert_array_equal(kept, expected)


def test_band_beyond_the_foreground_is_clipped_to_it():
    kept = Band(from_vertex_mm=(-50, 500), step_mm=2).keep(EXTENT)
    assert 13 <= kept.min() <= 14
    assert kept.max() == 83


OPTIONS = {
    Center: st.builds(Center, n=st.integers(1, 60), of=st.sampled_from(["foreground", "array"])),
    Uniform: st.builds(Uniform, n=st.integers(1, 60)),
    Every: st.builds(Every, step_mm=st.floats(0.3, 30)),
    Band: st.builds(
        lambda top, depth, step: Band(from_vertex_mm=(top, top + depth), step_mm=step),
        st.floats(-20, 60),
        st.floats(1, 120),
        st.one_of(st.none(), st.floats(0.3, 30)),
    ),
}
"""How rules that need options are drawn; the others of the union are drawn as they are."""
PADDING = CropOrPad
"""Keeps slices that the volume does not have, and has a test of its own."""
RULES = st.one_of(
    OPTIONS.get(rule, st.builds(rule)) for rule in get_args(get_args(SliceRule)[0]) if rule is not PADDING
)


@given(
    RULES,
    st.integers(1, 120),
    st.floats(0.4, 9),
    st.tuples(st.integers(0, 119), st.integers(0, 119)),
    st.sampled_from([1, -1]),
)
def test_every_rule_keeps_sorted_slices_once_and_no_more_than_its_bound(rule, n, spacing, ends, up):
    low, high = sorted(end % n for end in ends)
    kept = rule.keep(Extent(n, low, high, spacing, up))
    assert np.all(np.diff(kept) > 0)
    assert len(kept) <= rule.bound(n, spacing)
    inside_array = rule.kind == "all" or getattr(rule, "of", "") == "array"
    first, last = (0, n - 1) if inside_array else (low, high)
    assert len(kept) == 0 or (kept[0] >= first and kept[-1] <= last)


@given(st.integers(1, 90), st.integers(1, 60))
def test_crop_or_pad_counts_as_torchio_does(n, wanted):
    """Of the difference, the larger half is cut or padded first, the smaller last."""
    first, last = math.ceil(abs(n - wanted) / 2), abs(n - wanted) // 2
    array = np.arange(n)
    expected = array[first : n - last] if n > wanted else np.pad(array, (first, last), constant_values=-1)
    kept = CropOrPad(n=wanted).keep(Extent(n, 0, 0, 2.0, 1))
    there = (kept >= 0) & (kept < n)
    np.testing.assert_array_equal(np.where(there, kept, -1), expected)
    assert np.all(np.diff(kept) == 1)
    assert CropOrPad(n=wanted).bound(n, 2.0) == len(kept) == wanted


def test_rules_are_told_by_kind_and_refuse_what_cannot_be():
    adapter = TypeAdapter(SliceRule)
    assert adapter.validate_python({"kind": "every", "step_mm": 4}) == Every(step_mm=4.0)
    for bad in ({"kind": "every", "step_mm": 0}, {"kind": "uniform", "n": 0}, {"kind": "thirds"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)
    with pytest.raises(ValidationError, match="smaller first"):
        Band(from_vertex_mm=(60, 10))
