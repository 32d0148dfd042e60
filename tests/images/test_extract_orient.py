"""Orientation: every axis order of one volume gives the same stack, and the matrix finds every voxel."""

import itertools

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from extract.volume.orient import OrientSpec, as_stack, stack_spacing, stack_to_native

CODES = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "AP", "SI"))
    for codes in itertools.product(*axes)
]


def stored_as(codes: str):
    """One volume with unequal sides and spacing, stored in the axis order `codes`."""
    ras = np.arange(5 * 7 * 11, dtype=np.float32).reshape(5, 7, 11)
    affine = np.diag([1.5, 2.5, 3.5, 1.0])
    affine[:3, 3] = -3, -8, -19
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    data = apply_orientation(ras, ornt)
    return ras, data, affine @ inv_ornt_aff(ornt, ras.shape)


@pytest.mark.parametrize("codes", CODES)
def test_all_48_orders_give_one_stack(codes):
    ras, data, affine = stored_as(codes)
    assert "".join(nibabel.aff2axcodes(affine)) == codes
    matrix = stack_to_native(affine, data.shape, OrientSpec())
    stack = as_stack(data, matrix)
    # Row 0 is anterior (the end of y), column 0 is the participant's left (the start of x).
    expected = np.stack([[[ras[x, 6 - row, z] for x in range(5)] for row in range(7)] for z in range(11)])
    np.testing.assert_array_equal(stack, expected)
    assert np.shares_memory(stack, data)
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    assert stack_spacing(matrix, tuple(sizes)) == pytest.approx((3.5, 2.5, 1.5))
    for row, column, index in [(0, 0, 0), (6, 4, 10), (2, 3, 7)]:
        native = matrix @ [row, column, index, 1]
        assert data[tuple(native[:3].astype(int))] == stack[index, row, column]


def test_an_oblique_affine_takes_the_nearest_axes():
    angle = np.radians(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.0, 1.0, 2.0])
    matrix = stack_to_native(affine, (5, 7, 11), OrientSpec())
    np.testing.assert_array_equal(matrix @ [0, 0, 0, 1], [4, 6, 0, 1])


def test_stored_leaves_everything_as_it_lies():
    _, data, affine = stored_as("PSR")
    matrix = stack_to_native(affine, data.shape, OrientSpec(to="stored"))
    np.testing.assert_array_equal(as_stack(data, matrix), np.moveaxis(data, 2, 0))
