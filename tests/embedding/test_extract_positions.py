"""Position tables against their rules written out as loops."""

import math

import numpy as np
import pytest
import torch

from extract.backbones.positions import NATIVE, PLAIN, REGISTERS, position_rule, resample_positions

pytestmark = pytest.mark.numerics


def cubic(distance: float, a: float) -> float:
    """Keys' cubic kernel."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return 0.0


def plain_weights(side: int, grid: int) -> np.ndarray:
    """Centres land at (i + 1/2) / scale - 1/2 with the offset scale; borders repeat; a = -3/4."""
    weights = np.zeros((grid, side))
    scale = (grid + 0.1) / side
    for i in range(grid):
        centre = (i + 0.5) / scale - 0.5
        low = math.floor(centre)
        for tap in range(low - 1, low + 3):
            weights[i, min(max(tap, 0), side - 1)] += cubic(centre - tap, -0.75)
    return weights


def register_weights(side: int, grid: int) -> np.ndarray:
    """True size ratio, kernel widened by it when shrinking, cut at the border and normalised; a = -1/2."""
    weights = np.zeros((grid, side))
    step = side / grid
    widen = max(step, 1.0)
    for i in range(grid):
        centre = (i + 0.5) * step
        first = max(int(centre - 2 * widen + 0.5), 0)
        last = min(int(centre + 2 * widen + 0.5), side)
        for tap in range(first, last):
            weights[i, tap] = cubic((tap - centre + 0.5) / widen, -0.5)
        weights[i] /= weights[i].sum()
    return weights


@pytest.mark.parametrize(("rule", "written_out"), [(PLAIN, plain_weights), (REGISTERS, register_weights)])
@pytest.mark.parametrize(("side", "grid"), [(37, 16), (37, 32), (37, 5), (7, 4), (5, 11), (37, 38)])
def test_a_table_follows_the_official_rule(rule, written_out, side, grid):
    table = torch.randn(side, side, 3, generator=torch.Generator().manual_seed(side * grid))
    weights = written_out(side, grid)
    expected = np.einsum("ri,cj,ijd->rcd", weights, weights, table.double().numpy())
    found = resample_positions(table, (grid, grid), rule)
    assert found.shape == (grid, grid, 3)
    # the coordinates are float32 inside torch
    assert np.abs(found.numpy() - expected).max() < 2e-5


@pytest.mark.parametrize(("rule", "written_out"), [(PLAIN, plain_weights), (REGISTERS, register_weights)])
@pytest.mark.parametrize("grid", [(32, 38), (16, 12), (7, 37), (1, 5)])
def test_rows_and_columns_follow_the_rule_each_on_its_own(rule, written_out, grid):
    table = torch.randn(37, 37, 3, generator=torch.Generator().manual_seed(sum(grid)))
    down, across = (written_out(37, patches) for patches in grid)
    expected = np.einsum("ri,cj,ijd->rcd", down, across, table.double().numpy())
    found = resample_positions(table, grid, rule)
    assert found.shape == (*grid, 3)
    assert np.abs(found.numpy() - expected).max() < 2e-5


def test_the_two_rules_differ_where_it_matters():
    table = torch.randn(37, 37, 3, generator=torch.Generator().manual_seed(0))
    plain, registers = (resample_positions(table, (16, 16), rule) for rule in (PLAIN, REGISTERS))
    assert (plain - registers).abs().max() > 0.1


@pytest.mark.parametrize("grid", range(2, 50))
def test_the_offset_never_changes_the_grid(grid):
    assert resample_positions(torch.zeros(37, 37, 1), (grid, grid), PLAIN).shape == (grid, grid, 1)


def test_the_rule_is_named_by_variant_and_a_fitting_table_stays_as_it_is():
    assert position_rule(0, 37, (16, 16)) == PLAIN
    assert position_rule(4, 37, (16, 16)) == REGISTERS
    assert position_rule(0, 37, (37, 37)) == position_rule(4, 37, (37, 37)) == NATIVE
    assert position_rule(0, 37, (37, 36)) == PLAIN
    table = torch.randn(5, 5, 2)
    assert torch.equal(resample_positions(table, (5, 5), NATIVE), table)
