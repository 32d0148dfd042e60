"""Spatial autoregression as released: against numbers that the released code gave, and written out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn.functional import interpolate

from aggregate.anomaly.arithmetic.adamw import AdamW
from aggregate.anomaly.arithmetic.causal_net import CausalNet, channel_spread
from aggregate.anomaly.arithmetic.masked_conv import causal_mask, masked_conv
from aggregate.anomaly.detectors.base import Reference, SliceBatch
from aggregate.anomaly.detectors.registry import DetectorSpec, NewDetector
from aggregate.anomaly.detectors.spatial_ar import SpatialAr, SpatialArSpec

pytestmark = pytest.mark.numerics

PARITY = Path(__file__).parents[1] / "data" / "parity" / "ar_noise.npz"
GRID, DIM, WIDTH = (8, 9), 12, 8


@pytest.fixture(scope="module")
def released():
    return np.load(PARITY, allow_pickle=False)


def batch_of(patches: torch.Tensor) -> SliceBatch:
    n, rows, cols, _ = patches.shape
    ones = torch.ones(n, rows, cols)
    return SliceBatch(patches, ones, ones, patches[:, 0, 0], torch.zeros(n), torch.zeros(n, dtype=torch.long))


def channels_last(values) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values)).movedim(-3, -1)


def weights_of(released, prefix: str, step: int | None) -> dict[str, torch.Tensor]:
    found = {}
    for layer in range(5):
        for part in ("weight", "bias"):
            value = released[f"{prefix}_{layer}_{part}"]
            found[f"{layer}.{part}"] = torch.from_numpy(value if step is None else value[step])
    return found


def started(dtype: torch.dtype, weights, **changes) -> SpatialAr:
    """A detector at given weights, in their precision."""
    given = {"width": WIDTH, "noise_per": "channel", "noise_probability": 1.0}
    detector = SpatialArSpec(**{**given, **changes}).build(0)
    detector.start(Reference(DIM, GRID, 4, 1))
    detector._members = [
        {name: value.to(dtype).clone().requires_grad_() for name, value in own.items()} for own in weights
    ]
    every = [value for own in detector._members for value in own.values()]
    detector._optimiser = AdamW(every, 1e-3)
    return detector


class GivenNoise:
    """Hands out stored draws where the detector would draw."""

    def __init__(self, drawn, applied: bool) -> None:
        self.drawn, self.applied = drawn, applied

    def random(self) -> float:
        return 0.0 if self.applied else 1.0

    def standard_normal(self, shape, dtype):
        assert self.drawn.shape == shape
        return self.drawn.copy()


@pytest.mark.parametrize(
    ("dilation", "precision", "near"),
    [(1, "f32", 1e-6), (4, "f32", 1e-6), (1, "f64", 1e-12)],
)
def test_five_noisy_steps_are_the_released_ones(released, monkeypatch, dilation, precision, near):
    dtype = {"f32": torch.float32, "f64": torch.float64}[precision]
    start = weights_of(released, f"d{dilation}_{precision}", 0)
    detector = started(dtype, [start], dilation=dilation)
    for step in range(5):
        drawn = channels_last(released["normals"][step]).to(dtype).numpy()
        stream = GivenNoise(np.ascontiguousarray(drawn), bool(released["noise_applied"][step]))
        monkeypatch.setattr("numpy.random.Generator", lambda _, stream=stream: stream)
        clean = channels_last(released["batches"][step]).to(dtype).contiguous()
        if precision == "f32":
            noisy = torch.cat(list(detector._noisy(clean, 0)))
            torch.testing.assert_close(
                noisy, channels_last(released["f32_noisy_input"][step]), rtol=0, atol=2e-6
            )
        detector.observe(batch_of(clean), 0)
        wanted = weights_of(released, f"d{dilation}_{precision}", step + 1)
        for name, value in wanted.items():
            torch.testing.assert_close(detector._members[0][name].detach(), value, rtol=0, atol=near)


@pytest.mark.parametrize("precision", ["f32", "f64"])
def test_the_noise_is_of_each_slice_and_channel(released, precision):
    batches = torch.from_numpy(released["batches"]).to(
        {"f32": torch.float32, "f64": torch.float64}[precision]
    )
    for batch, wanted in zip(batches, released[f"{precision}_std"], strict=True):
        found = channel_spread(batch.movedim(1, 3))[:, 0, 0]
        np.testing.assert_allclose(found, wanted, rtol=1e-6 if precision == "f32" else 1e-12)
    assert released["f64_std"][0, 0, 3] == 1e-6  # a constant channel
    single = torch.ones(2, 1, 1, 3)
    assert torch.equal(channel_spread(single), torch.full((2, 1, 1, 3), 1e-6))


@pytest.mark.parametrize("wrong", [{"noise_per": "batch"}, {"noise_per": None}])
def test_one_deviation_for_the_batch_gives_other_weights(released, monkeypatch, wrong):
    detector = started(torch.float32, [weights_of(released, "d1_f32", 0)], **wrong)
    drawn = np.ascontiguousarray(channels_last(released["normals"][0]).numpy())
    monkeypatch.setattr("numpy.random.Generator", lambda _: GivenNoise(drawn, True))
    detector.observe(batch_of(channels_last(released["batches"][0]).contiguous()), 0)
    found = detector._members[0]["0.weight"].detach()
    assert float((found - weights_of(released, "d1_f32", 1)["0.weight"]).abs().max()) > 1e-3


@pytest.mark.parametrize(("dilation", "precision"), [(1, "f32"), (1, "f64"), (4, "f32")])
def test_maps_of_one_side_and_both_are_the_released_ones(released, dilation, precision):
    dtype, near = {"f32": (torch.float32, 1e-5), "f64": (torch.float64, 1e-12)}[precision]
    forward = weights_of(released, f"d{dilation}_{precision}", 5)
    backward = weights_of(released, f"d{dilation}_backward", None)
    patches = channels_last(released["batches"][4]).to(dtype).contiguous()

    def score(weights, **changes):
        detector = started(dtype, weights, dilation=dilation, two_sided=len(weights) == 2, **changes)
        detector._best = [{k: v.detach() for k, v in own.items()} for own in detector._members]
        return detector.score(batch_of(patches))

    maps = {
        "forward": score([forward]),
        "mean": score([forward, backward]),
        "min": score([forward, backward], reduce="min"),
    }
    for name, found in maps.items():
        wanted = torch.from_numpy(released[f"d{dilation}_{precision}_map_{name}"])
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=near)
    if dilation == 1:
        up = interpolate(maps["mean"][:, None], (40, 40), mode="bilinear", align_corners=False)[:, 0]
        wanted = torch.from_numpy(released[f"{precision}_map_mean_up40"])
        torch.testing.assert_close(up, wanted, rtol=1e-6, atol=near)


def test_masks_are_the_released_ones(released):
    for layer in range(5):
        mask = causal_mask("B" if layer else "A").numpy()
        np.testing.assert_array_equal(
            np.broadcast_to(mask, released[f"mask_{layer}"].shape), released[f"mask_{layer}"]
        )


def taps(kind: str, kernel: int) -> list[tuple[int, int]]:
    """Row and column offsets that a convolution may see, in raster order up to the centre."""
    middle = kernel // 2
    every = [(r, c) for r in range(-middle, middle + 1) for c in range(-middle, middle + 1)]
    return [place for place in every if place < (0, 0) or (kind == "B" and place == (0, 0))]


def slow_conv(x, weight, bias, kind, dilation):
    """(slice, channel, row, col), one tap after another."""
    _, _, rows, cols = x.shape
    kernel = weight.shape[2]
    out = [[bias.expand(len(x), -1) for _ in range(cols)] for _ in range(rows)]
    for row in range(rows):
        for col in range(cols):
            for down, right in taps(kind, kernel):
                r, c = row + down * dilation, col + right * dilation
                if 0 <= r < rows and 0 <= c < cols:
                    live = weight[:, :, down + kernel // 2, right + kernel // 2]
                    out[row][col] = out[row][col] + x[:, :, r, c] @ live.T
    return torch.stack([torch.stack(line, 2) for line in out], 2)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("kind", ["A", "B"])
@pytest.mark.parametrize("dilation", [1, 3])
def test_a_wider_kernel_is_the_loop_over_its_taps(kernel, kind, dilation):
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(2, 3, 6, 7, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 3, kernel, kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    found = masked_conv(x, weight, bias, kind, dilation)
    torch.testing.assert_close(found, slow_conv(x, weight, bias, kind, dilation), rtol=0, atol=1e-12)


def test_noisy_steps_are_those_written_out(monkeypatch):
    """Noise, network, loss and AdamW from their formulas, in float64, beside the detector's."""
    changes = {"dilation": (1, 2, 1), "depth": 3, "width": 5, "kernel": 5, "learning_rate": 2e-3}
    spec = SpatialArSpec(noise_per="channel", noise_probability=1.0, noise=0.1, **changes)
    detector = spec.build(7)
    detector.start(Reference(4, (5, 6), 9, 1))
    detector._members = [
        {name: value.detach().double().requires_grad_() for name, value in own.items()}
        for own in detector._members
    ]
    detector._optimiser = torch.optim.AdamW(detector._members[0].values(), lr=2e-3)
    own = {name: value.detach().clone() for name, value in detector._members[0].items()}
    first = {name: torch.zeros_like(value) for name, value in own.items()}
    second = {name: torch.zeros_like(value) for name, value in own.items()}
    scale = torch.linspace(0.1, 20, 4, dtype=torch.float64)
    for step in range(1, 4):
        stream = np.random.default_rng(step)
        patches = torch.from_numpy(stream.standard_normal((3, 5, 6, 4))) * scale
        noisy = patches.clone()
        drawn = stream.standard_normal((3, 5, 6, 4))
        for n in range(3):
            for channel in range(4):
                values = patches[n, :, :, channel].flatten().tolist()
                mean = sum(values) / 30
                spread = math.sqrt(sum((v - mean) ** 2 for v in values) / 29)
                noisy[n, :, :, channel] += 0.1 * spread * torch.from_numpy(drawn[n, :, :, channel])
        monkeypatch.setattr(np.random, "Generator", lambda _, drawn=drawn: GivenNoise(drawn, True))
        detector.observe(batch_of(patches), 0)
        given = {name: value.requires_grad_() for name, value in own.items()}
        x = noisy.permute(0, 3, 1, 2)
        for layer, dilation in enumerate((1, 2, 1)):
            kind = "B" if layer else "A"
            x = slow_conv(x, given[f"{layer}.weight"], given[f"{layer}.bias"], kind, dilation)
            x = x.clamp_min(0) if layer < 2 else x
        loss = (x - patches.permute(0, 3, 1, 2)).square().mean()
        gradients = torch.autograd.grad(loss, list(given.values()))
        for (name, value), gradient in zip(given.items(), gradients, strict=True):
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            shrunk = value.detach() * (1 - 2e-3 * 1e-2)
            root = (second[name] / (1 - 0.999**step)).sqrt() + 1e-8
            own[name] = shrunk - 2e-3 * first[name] / (1 - 0.9**step) / root
    for name, value in own.items():
        torch.testing.assert_close(detector._members[0][name].detach(), value, rtol=0, atol=1e-10)


def test_a_layer_sees_as_far_as_its_dilation():
    net = CausalNet(3, (1, 4, 1), width=6)
    # None negative: where a rectifier sleeps nothing is felt, however far the layer sees.
    weights = {k: torch.rand(s, dtype=torch.float64) for k, s in net.layer_shapes().items()}
    tokens = torch.rand(1, 15, 15, 3, dtype=torch.float64, requires_grad=True)
    net.predict(tokens, weights)[0, 10, 7].sum().backward()
    rows, cols = (tokens.grad[0].abs().sum(2) > 0).nonzero().T
    assert (int(rows.min()), int(rows.max())) == (10 - 1 - 4 - 1, 10)
    assert (int(cols.min()), int(cols.max())) == (7 - 6, 7 + 6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dilation": (4, 4, 4, 4)}, "4 numbers for a depth of 5"),
        ({"width": 1000, "kernel": 9, "depth": 2}, "100000000 at most"),
        ({"kernel": 4}, "kernel"),
    ],
)
def test_networks_that_cannot_be_are_refused(changes, says):
    with pytest.raises(ValidationError, match=says):
        SpatialArSpec(**changes)


def read(reader, **given):
    return TypeAdapter(reader).validate_python({"kind": "spatial_ar", **given})


def test_new_runs_have_the_released_noise_and_old_bundles_theirs():
    assert read(NewDetector).noise_per == "channel"
    assert read(NewDetector, noise_per="batch").noise_per == "batch"
    stored = read(DetectorSpec)
    assert stored.noise_per is None
    known = {"store", "name", "kind", "dilation", "two_sided", "learning_rate", "noise"}
    assert stored.model_dump(mode="json").keys() == known | {"noise_probability", "epochs"}
    again = read(NewDetector, **read(NewDetector, dilation=[4, 1, 4], depth=3).model_dump(mode="json"))
    assert again.dilations == (4, 1, 4)


def test_the_last_epoch_is_kept_where_that_is_asked_for():
    for checkpoint, kept in (("held_out", 1), ("last", 2)):
        detector = SpatialArSpec(width=4, epochs=3, checkpoint=checkpoint).build(0)
        detector.start(Reference(3, (4, 4), 5, 1))
        patches = torch.randn(5, 4, 4, 3, generator=torch.Generator().manual_seed(0))
        seen = []
        for epoch, loss in enumerate([3.0, 1.0, 2.0]):
            detector.observe(batch_of(patches), epoch)
            detector.end_epoch(epoch, loss)
            seen.append(detector._errors(patches, detector._members)[0])
        torch.testing.assert_close(detector.score(batch_of(patches)), seen[kept])
        assert float((seen[1] - seen[2]).abs().max()) > 1e-5
