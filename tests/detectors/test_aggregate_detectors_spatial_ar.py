"""The causal network against a loop over taps, by its gradients, and over a kill."""

import math

import numpy as np
import pytest
import torch

from aggregate.anomaly.arithmetic.causal_net import CausalNet
from aggregate.anomaly.arithmetic.masked_conv import causal_mask, masked_conv
from aggregate.anomaly.detectors.base import Reference, SliceBatch
from aggregate.anomaly.detectors.spatial_ar import SpatialAr, SpatialArSpec, turned
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics

TAPS = {
    "A": [(-1, -1), (-1, 0), (-1, 1), (0, -1)],
    "B": [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0)],
}


def slow_conv(x, weight, bias, kind, dilation):
    """(channel, row, col) -> (out, row, col), one tap after another."""
    _, rows, cols = x.shape
    out = bias[:, None, None].expand(-1, rows, cols).clone()
    for row in range(rows):
        for col in range(cols):
            for up, left in TAPS[kind]:
                r, c = row + up * dilation, col + left * dilation
                if 0 <= r < rows and 0 <= c < cols:
                    out[:, row, col] += weight[:, :, up + 1, left + 1] @ x[:, r, c]
    return out


def slow_predict(tokens, weights, dilation):
    """(row, col, dim) -> the same."""
    x = tokens.permute(2, 0, 1)
    for layer in range(5):
        kind = "B" if layer else "A"
        x = slow_conv(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"], kind, dilation)
        x = x.clamp_min(0) if layer < 4 else x
    return x.permute(1, 2, 0)


def unmasked(dim: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights whose masked taps are not 0, so that only the mask can keep them out."""
    generator = torch.Generator().manual_seed(3)
    shapes = CausalNet(dim).layer_shapes()
    return {
        k: torch.randn(s, generator=generator, dtype=dtype) / math.sqrt(9 * 256) for k, s in shapes.items()
    }


def batch_of(patches: torch.Tensor) -> SliceBatch:
    n, rows, cols, _ = patches.shape
    ones = torch.ones(n, rows, cols)
    return SliceBatch(patches, ones, ones, patches[:, 0, 0], torch.zeros(n), torch.zeros(n, dtype=torch.long))


def normal_slices(n: int, seed: int) -> SliceBatch:
    """Smooth maps of 7 x 6 tokens of 5 numbers: what stands above foretells what stands below."""
    stream = np.random.default_rng(seed)
    phase = torch.from_numpy(stream.uniform(0, 6, (n, 1, 1, 5)).astype(np.float32))
    place = (torch.arange(7)[:, None] * 0.4 + torch.arange(6) * 0.3)[None, :, :, None]
    noise = torch.from_numpy(stream.standard_normal((n, 7, 6, 5)).astype(np.float32))
    return batch_of(torch.sin(place + phase) + 0.05 * noise)


def started(**changes) -> SpatialAr:
    detector = SpatialArSpec(**changes).build(4)
    assert isinstance(detector, SpatialAr)
    detector.start(Reference(5, (7, 6), 21, 3))
    return detector


def fit(detector: SpatialAr, epochs: range) -> None:
    for epoch in epochs:
        for step in range(3):
            detector.observe(normal_slices(9 if step < 2 else 3, step), epoch)
        held_out = detector.held_out_loss(normal_slices(4, 99))
        detector.end_epoch(epoch, float(held_out.mean()))


def test_masks_are_those_of_types_a_and_b():
    for kind, taps in TAPS.items():
        live = {(int(r) - 1, int(c) - 1) for r, c in causal_mask(kind).nonzero()}
        assert live == set(taps)
        assert set(causal_mask(kind).flatten().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("kind", ["A", "B"])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_masked_conv_is_the_loop_over_taps(kind, dilation, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 7, 6, generator=generator, dtype=dtype)
    weight = torch.randn(3, 5, 3, 3, generator=generator, dtype=dtype)
    bias = torch.randn(3, generator=generator, dtype=dtype)
    ours = masked_conv(x, weight, bias, kind, dilation)
    for given, found in zip(x, ours, strict=True):
        expected = slow_conv(given, weight, bias, kind, dilation)
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_masked_conv_is_the_masked_3_x_3_and_so_are_its_gradients():
    x, weight = torch.randn(2, 5, 7, 6, dtype=torch.float64), torch.randn(3, 5, 3, 3, dtype=torch.float64)
    x.requires_grad_(), weight.requires_grad_()
    bias = torch.zeros(3, dtype=torch.float64)
    for kind in ("A", "B"):
        ours = masked_conv(x, weight, bias, kind, 2)
        full = torch.nn.functional.conv2d(x, weight * causal_mask(kind), bias, padding=2, dilation=2)
        torch.testing.assert_close(ours, full, rtol=0, atol=1e-12)
        given, wanted = (torch.autograd.grad(out.square().sum(), (x, weight)) for out in (ours, full))
        for a, b in zip(given, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        assert not (given[1] * (1 - causal_mask(kind))).any()


@pytest.mark.parametrize("dilation", [1, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_forward_is_the_loop(dilation, dtype, tolerance):
    weights = unmasked(5, dtype)
    tokens = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(1), dtype=dtype)
    ours = CausalNet(5, (dilation,) * 5).predict(tokens[None], weights)[0]
    torch.testing.assert_close(ours, slow_predict(tokens, weights, dilation), rtol=0, atol=tolerance)


def test_published_number_of_parameters():
    assert sum(value.numel() for value in CausalNet(384).first_weights(0, 0).values()) == 3_540_352


@pytest.mark.parametrize(("dilation", "seen"), [(1, 50), (4, 21)])
def test_centre_token_sees_only_the_past(dilation, seen):
    weights = unmasked(5, torch.float64)
    tokens = torch.randn(1, 28, 28, 5, dtype=torch.float64, requires_grad=True)
    CausalNet(5, (dilation,) * 5).predict(tokens, weights)[0, 14, 14].sum().backward()
    touched = tokens.grad[0].abs().sum(2) > 0
    assert int(touched.sum()) == seen
    place = torch.arange(28 * 28).view(28, 28)
    assert int(place[touched].max()) < int(place[14, 14])


@pytest.mark.parametrize("two_sided", [False, True])
def test_no_model_sees_its_target(two_sided):
    detector = started(two_sided=two_sided)
    for member, weights in enumerate(detector._members):
        tokens = torch.randn(1, 7, 6, 5, requires_grad=True)
        foretold = turned(CausalNet(5).predict(turned(tokens, member), weights), member)
        (gradient,) = torch.autograd.grad(foretold[0, 3, 3].sum(), tokens)
        reached = (gradient[0].abs().sum(2) > 0).flatten().nonzero().squeeze(1)
        assert len(reached)
        here = 3 * 6 + 3
        assert bool((reached > here).all() if member else (reached < here).all())


def test_two_sided_is_the_mean_of_both_directions():
    detector = started(two_sided=True, epochs=1)
    fit(detector, range(1))
    batch = normal_slices(3, 5)
    one, other = detector._best
    forward = (CausalNet(5).predict(batch.patches, one) - batch.patches).square().mean(3)
    flipped = batch.patches.flip(1, 2)
    backward = (CausalNet(5).predict(flipped, other) - flipped).square().mean(3).flip(1, 2)
    torch.testing.assert_close(detector.score(batch), (forward + backward) / 2, rtol=0, atol=1e-6)


def test_a_step_is_adamw_on_the_whole_batch():
    detector = started(noise_probability=0.0)
    weights = {k: v.requires_grad_() for k, v in CausalNet(5).first_weights(4, 0).items()}
    plain = torch.optim.AdamW(weights.values(), lr=1e-3)
    for step in range(3):
        batch = normal_slices(19, step)
        detector.observe(batch, 0)
        plain.zero_grad()
        (CausalNet(5).predict(batch.patches, weights) - batch.patches).square().mean().backward()
        plain.step()
    for name, value in weights.items():
        torch.testing.assert_close(detector._members[0][name], value, rtol=0, atol=1e-5)


def test_noise_is_seeded_by_epoch_and_batch_and_drawn_with_its_probability():
    detector = started()
    patches = normal_slices(9, 0).patches

    def given_in(epoch):
        return torch.cat(list(detector._noisy(patches, epoch)))

    noisy = []
    for batch in range(400):
        detector._batch = batch
        noisy.append(not torch.equal(given_in(2), patches))
    assert 50 < sum(noisy) < 110
    detector._batch = noisy.index(True)
    given = given_in(2)
    assert torch.equal(given, given_in(2))
    assert not torch.equal(given, given_in(3))
    added = (given - patches) / patches.std()
    assert float(added.std()) == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("two_sided", [False, True])
def test_a_resumed_fit_ends_at_the_same_bits(two_sided):
    whole, first, resumed = (started(two_sided=two_sided, epochs=4, noise_probability=0.5) for _ in range(3))
    fit(whole, range(4))
    fit(first, range(2))
    resumed.load_state(first.state())
    fit(resumed, range(2, 4))
    expected, found = whole.state(), resumed.state()
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert all(name.startswith("best.") for name in found if name != "history")


def test_a_completed_fit_scores_from_its_state_and_ends_when_it_should():
    detector = started(epochs=2)
    fit(detector, range(1))
    assert detector.end_epoch(1, None) is True
    again = started(epochs=2)
    again.load_state(detector.state())
    batch = normal_slices(11, 8)
    # Bits: a killed run scores from the state.
    assert torch.equal(again.score(batch), detector.score(batch))
    assert detector.score(batch).shape == (11, 7, 6)


def test_the_best_epoch_by_held_out_loss_is_kept():
    detector = started(epochs=4)
    batch = normal_slices(9, 0)
    scores = []
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.5]):
        detector.observe(batch, epoch)
        detector.end_epoch(epoch, loss)
        scores.append(detector._errors(batch.patches, detector._members)[0])
    torch.testing.assert_close(detector.score(batch), scores[1], rtol=0, atol=1e-6)
    assert all(float((scores[1] - other).abs().max()) > 1e-4 for other in (scores[0], scores[2], scores[3]))


def test_tokens_kept_in_half_precision_give_the_same_map():
    # Of one model: a second fit, to rounded tokens, is another model, as AdamW's first steps go by signs.
    detector = started(epochs=5)
    fit(detector, range(5))
    batch = normal_slices(6, 50)
    rounded = batch_of(batch.patches.half().float())
    torch.testing.assert_close(detector.score(rounded), detector.score(batch), rtol=0, atol=5e-4)


def test_it_learns_what_is_normal():
    detector = started(epochs=15, learning_rate=3e-3)
    fit(detector, range(15))
    batch = normal_slices(6, 50)
    spoilt = batch.patches.clone()
    spoilt[:, 4, 3] = spoilt[:, 4, 3].flip(1) * 1.5
    scores = detector.score(batch_of(spoilt))
    assert float(scores[:, 4, 3].mean()) > 3 * float(detector.score(batch).mean())


def test_scores_need_a_fit_and_states_must_match():
    detector = started()
    with pytest.raises(SlicecacheError, match="was not"):
        detector.score(normal_slices(1, 0))
    fit(detector, range(1))
    other = SpatialArSpec().build(4)
    other.start(Reference(6, (7, 6), 21, 3))
    with pytest.raises(SlicecacheError, match=r"best\.0\.0\.weight"):
        other.load_state(detector.state())
