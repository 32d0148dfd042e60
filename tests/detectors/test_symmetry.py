"""The other side of a slice, written out in loops; asymmetries score, symmetric oddities do not."""

import numpy as np
import pytest
import torch

from aggregate.anomaly.arithmetic.mirror import midline, other_side
from aggregate.anomaly.detectors.base import Reference, SliceBatch
from aggregate.anomaly.detectors.symmetry import Symmetry, SymmetrySpec
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics


def written_out(values, twice, reach):
    """The mean about the mirrored patch, itself left out; None where nobody is there."""
    slices, rows, cols, _ = values.shape
    found = {}
    for s, r, c in np.ndindex(slices, rows, cols):
        near = [
            values[s, row, int(twice[s]) - col]
            for row in range(r - reach, r + reach + 1)
            for col in range(c - reach, c + reach + 1)
            if 0 <= row < rows and 0 <= int(twice[s]) - col < cols and (row, int(twice[s]) - col) != (r, c)
            if 0 <= col < cols
        ]
        found[s, r, c] = torch.stack(near).mean(0) if near else None
    return found


@pytest.mark.parametrize("reach", [1, 2])
def test_the_other_side_is_what_a_loop_finds(reach):
    values = torch.randn(4, 5, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    twice = torch.tensor([6, 5, 9, 2])
    found = other_side(values, twice, reach)
    for (s, r, c), wanted in written_out(values, twice, reach).items():
        assert bool(found.there[s, r, c]) == (wanted is not None)
        if wanted is not None:
            torch.testing.assert_close(found.mean[s, r, c], wanted)


def test_the_midline_is_the_foregrounds_centre():
    foreground = torch.zeros(3, 4, 7)
    foreground[0, :, 1:4] = 1.0  # columns 1, 2, 3: the centre is 2
    foreground[1, :, 2:6] = 0.5  # columns 2 to 5: the centre is 3.5
    assert midline(foreground).tolist() == [4, 7, 6]


def heads(n: int, seed: int) -> SliceBatch:
    """Symmetric tokens up to noise, and a foreground whose centre moves a little."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn(n, 6, 4, 5, generator=generator)
    patches = torch.cat([half, half.flip(2)], dim=2)
    patches = patches + 0.05 * torch.randn(patches.shape, generator=generator)
    foreground = torch.ones(n, 6, 8)
    foreground[:, 0], foreground[:, :, [0, 7]] = 0.0, 0.0
    height = torch.linspace(0, 100, n)
    return SliceBatch(
        patches, foreground, patches[..., 0], patches.mean((1, 2)), height, torch.arange(n) // 4
    )


def fitted(spec: SymmetrySpec) -> Symmetry:
    detector = spec.build(0)
    detector.start(Reference(5, (6, 8), 200, 50))
    detector.observe(heads(200, 0), 0)
    detector.end_epoch(0, None)
    return detector


@pytest.mark.parametrize("of", ["tokens", "intensity"])
def test_what_is_odd_on_one_side_scores_on_both_and_what_is_odd_on_both_does_not(of):
    detector, usual = fitted(SymmetrySpec(of=of)), heads(20, 1)
    one, both = usual.patches.clone(), usual.patches.clone()
    one[:, 2:5, 1:4] += 4.0
    both[:, 2:5, 1:4] += 4.0
    both[:, 2:5, 4:7] += 4.0

    def rise(patches):
        changed = SliceBatch(
            patches, usual.foreground, patches[..., 0], usual.cls, usual.height_mm, usual.volume
        )
        return detector.score(changed).sub(detector.score(usual))[:, 3].mean(0)

    assert rise(one)[2] > 1.0
    assert rise(one)[5] > 1.0
    assert rise(both)[2] < 0.7 * rise(one)[2]
    assert detector.score(usual)[:, 0].abs().max() == 0  # no foreground


def test_batches_of_any_size_give_the_same_sums():
    whole, parts = fitted(SymmetrySpec()), SymmetrySpec().build(0)
    parts.start(Reference(5, (6, 8), 200, 50))
    for start in range(0, 200, 7):
        parts.observe(heads(200, 0).take(slice(start, start + 7)), 0)
    torch.testing.assert_close(parts.state()["scatter"], whole.state()["scatter"])


def test_a_reference_without_foreground_is_refused():
    detector = SymmetrySpec().build(0)
    detector.start(Reference(5, (6, 8), 4, 1))
    empty = heads(4, 0)
    empty.foreground.zero_()
    detector.observe(empty, 0)
    with pytest.raises(SlicecacheError, match="foreground on both sides"):
        detector.end_epoch(0, None)
