"""Gaussian, support-slice and baseline detectors and thresholds, against their formulas written out."""

import numpy as np
import pytest
import torch
from made_up_store import example_key
from scipy import ndimage

from aggregate.anomaly.arithmetic.heights import HEIGHT_BINS, height_bin, smooth
from aggregate.anomaly.arithmetic.scales.height_scale import BOUND, fit_heights
from aggregate.anomaly.detectors.base import SliceBatch, volume_number
from aggregate.anomaly.detectors.dino_ad import DinoAdSpec, closed
from aggregate.anomaly.detectors.intensity import IntensityBaselineSpec
from aggregate.anomaly.detectors.mahalanobis import MahalanobisSpec
from aggregate.anomaly.detectors.memory_bank import MemoryBankSpec
from aggregate.anomaly.detectors.position import PositionBaselineSpec
from aggregate.anomaly.fitting.fit import fit
from aggregate.anomaly.fitting.normalise import calibrate_detector, quantile_above
from aggregate.anomaly.fitting.rebatch import join
from aggregate.anomaly.fitting.stream import open_stream
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics


@pytest.fixture
def stream(normal_store):
    return open_stream(normal_store([9, 7, 11, 4]))


@pytest.fixture
def reference(stream):
    return join([batch for _, batch in stream.in_order(64)])


@pytest.fixture
def queries(normal_store):
    stream = open_stream(normal_store([6, 5], name="q.zarr", first=30))
    return join([batch for _, batch in stream.in_order(64)])


def fitted(spec, stream, seed=0):
    detector = spec.build(seed)
    fit([detector], stream)
    return detector


def regularised(covariance, shrinkage):
    dim = len(covariance)
    eye = np.eye(dim)
    return (1 - shrinkage) * covariance + (shrinkage * np.trace(covariance) / dim + 1e-6) * eye


def distance(x, mean, covariance):
    return np.sqrt((x - mean) @ np.linalg.inv(covariance) @ (x - mean))


def test_pooled_mahalanobis_is_the_formula(stream, reference, queries):
    scores = fitted(MahalanobisSpec(per="pooled", shrinkage=0.05), stream).score(queries)
    tokens = reference.patches.double().numpy().reshape(-1, 11)
    covariance = regularised(np.cov(tokens.T), 0.05)
    for x, score in zip(queries.patches.double().numpy().reshape(-1, 11), scores.flatten(), strict=True):
        assert float(score) == pytest.approx(distance(x, tokens.mean(0), covariance), rel=1e-4)


@pytest.mark.parametrize("covariance", ["shared", "each"])
def test_mahalanobis_per_position_is_the_formula(stream, reference, queries, covariance):
    spec = MahalanobisSpec(covariance=covariance, dims=4, shrinkage=0.1)
    scores = fitted(spec, stream, seed=3).score(queries)
    dims = np.sort(np.random.default_rng(3).permutation(11)[:4])
    tokens = reference.patches.double().numpy()[..., dims]
    mean = tokens.mean(0)
    residuals = (tokens - mean).reshape(-1, 4)
    shared = residuals.T @ residuals / ((len(tokens) - 1) * 15)
    for row in range(3):
        for col in range(5):
            own = np.cov(tokens[:, row, col].T) if covariance == "each" else shared
            for i, x in enumerate(queries.patches[:, row, col].double().numpy()[:, dims]):
                expected = distance(x, mean[row, col], regularised(own, 0.1))
                assert float(scores[i, row, col]) == pytest.approx(expected, rel=1e-4)


def test_mahalanobis_needs_slices(normal_store):
    with pytest.raises(SlicecacheError, match="at least 23 reference slices, not 9; use covariance: shared"):
        fitted(MahalanobisSpec(covariance="each"), open_stream(normal_store([9])))
    with pytest.raises(SlicecacheError, match="at least 2 reference slices, not 1; use per: pooled"):
        fitted(MahalanobisSpec(), open_stream(normal_store([1], name="one.zarr")))
    with pytest.raises(ValueError, match="needs per: position"):
        MahalanobisSpec(per="pooled", covariance="each")


def test_closing_is_a_closing():
    share = torch.from_numpy(np.random.default_rng(0).random((6, 9, 7))).float()
    for one, mask in zip(share.numpy(), closed(share, 0.6).numpy(), strict=True):
        wide = ndimage.binary_dilation(one >= 0.6, np.ones((3, 3)))
        expected = ndimage.binary_erosion(wide, np.ones((3, 3)), border_value=1)
        np.testing.assert_array_equal(mask, expected)


def clusters(tokens, k):
    """The best of many starts, which ours should find too."""
    from sklearn.cluster import KMeans

    centroids = KMeans(k, n_init=60, random_state=0).fit(tokens).cluster_centers_
    return centroids / np.linalg.norm(centroids, axis=1, keepdims=True)


@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_dino_ad_is_its_reading(stream, reference, queries, reduce):
    detector = fitted(DinoAdSpec(reduce=reduce, restarts=60), stream)
    scores = detector.score(queries)
    unit = torch.nn.functional.normalize
    for i in range(0, len(queries), 3):
        best = int((unit(reference.cls, dim=1) @ unit(queries.cls[i], dim=0)).argmax())
        inside = closed(reference.foreground[best][None], 0.1)[0]
        tokens = unit(reference.patches[best], dim=2)[inside].double().numpy()
        centroids = clusters(tokens, 2)
        cosine = unit(queries.patches[i].double(), dim=2).numpy() @ centroids.T
        similar = cosine.max(2) if reduce == "max" else cosine.mean(2)
        mask = closed(queries.foreground[i][None], 0.1)[0].numpy()
        np.testing.assert_allclose(scores[i].numpy(), np.where(mask, 1 - similar, 0), atol=1e-4)


def test_dino_ad_never_compares_a_volume_with_itself(stream, reference, normal_store):
    detector = fitted(DinoAdSpec(), stream)
    own = reference.take(reference.volume == volume_number(example_key(2)))
    others = open_stream(
        stream.store, [entry for entry in stream.store.entries if entry.key != example_key(2)]
    )
    without = fitted(DinoAdSpec(restarts=10), others)
    supports = detector.state()["cls"][detector._supports(own)[:, 0]]
    assert torch.equal(supports, without.state()["cls"][without._supports(own)[:, 0]])
    alone = fitted(DinoAdSpec(), open_stream(normal_store([5], name="one.zarr")))
    with pytest.raises(SlicecacheError, match="compared with itself"):
        alone.score(reference.take(reference.volume == volume_number(example_key(0))))


def test_dino_ad_prefers_supports_of_the_same_height(stream, reference, queries):
    detector = fitted(DinoAdSpec(height_window_mm=3.0, supports=2), stream)
    picked = detector.state()["height"][detector._supports(queries)]
    near = (reference.height_mm - queries.height_mm[:, None]).abs().le(3).sum(1) >= 2
    assert near.sum() > 5
    assert ((picked - queries.height_mm[:, None]).abs() <= 3)[near].all()


def test_dino_ad_passes_over_slices_without_foreground(normal_store):
    def change(arrays, place):
        arrays["foreground"] = arrays["foreground"] * (place > 0)

    detector = fitted(DinoAdSpec(), open_stream(normal_store([3, 4], change=change)))
    assert set(detector.state()["volume"].tolist()) == {volume_number(example_key(1))}
    with pytest.raises(SlicecacheError, match="lower it"):
        fitted(DinoAdSpec(), open_stream(normal_store([3], name="e.zarr", change=change)))


def blinded(batch: SliceBatch, **changes) -> SliceBatch:
    nan = {"patches": torch.full_like(batch.patches, torch.nan), "cls": torch.full_like(batch.cls, torch.nan)}
    names = ("patches", "foreground", "intensity", "cls", "height_mm", "volume")
    return SliceBatch(**{name: (nan | changes).get(name, getattr(batch, name)) for name in names})


def test_position_knows_the_place_alone(stream, reference, queries):
    detector = PositionBaselineSpec().build(0)
    detector.start(stream.reference)
    detector.observe(blinded(reference), 0)
    scores = detector.score(blinded(queries, foreground=torch.full_like(queries.foreground, torch.nan)))
    expected = fitted(PositionBaselineSpec(), stream).score(queries)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    # The disc is the same at every height.
    torch.testing.assert_close(scores, reference.foreground[:1].expand(scores.shape), atol=1e-6, rtol=0)


def test_intensity_is_a_z_score_by_height(normal_store):
    def change(arrays, place):
        height = np.arange(40)[::-1] >= 25  # of the 2 mm slices; the lower ones are brighter
        arrays["patch_intensity"] += np.where(height, 2.0, 0.0)[:, None, None].astype(np.float32)

    stream = open_stream(normal_store([40] * 5, change=change, storage="float32"))
    everything = join([batch for _, batch in stream.in_order(64)])
    scores = fitted(IntensityBaselineSpec(), stream).score(everything)
    weight = everything.foreground
    for low in (True, False):  # far enough from the step
        away = everything.height_mm > 70 if low else everything.height_mm < 30
        w, value = weight[away].double(), everything.intensity[away].double()
        mean = (w * value).sum() / w.sum()
        sd = ((w * (value - mean) ** 2).sum() / w.sum()).sqrt()
        expected = torch.where(w > 0, (value - mean).abs() / sd, 0.0)
        torch.testing.assert_close(scores[away].double(), expected, atol=0.25, rtol=0.1)
    assert (scores[weight == 0] == 0).all()


def test_smoothing_reaches_heights_without_normals():
    sums = torch.zeros(HEIGHT_BINS, 2, dtype=torch.float64)
    sums[20], sums[23] = torch.tensor([2.0, 4.0]), torch.tensor([1.0, 9.0])
    ratio = smooth(sums)[:, 1] / smooth(sums)[:, 0]
    assert torch.isfinite(ratio).all()
    assert float(ratio[20]) == pytest.approx(2, abs=0.05)
    assert float(ratio[23]) == pytest.approx(9, abs=0.3)
    assert 2 < float(ratio[0]) < 3.5
    assert 7 < float(ratio[79]) <= 9
    assert height_bin(torch.tensor([-900.0, -50.0, 0.0, 4.9, 5.0, 9000.0])).tolist() == [0, 0, 10, 10, 11, 79]


@pytest.mark.parametrize("rate", [0.1, 0.05, 0.01, 0.0])
def test_a_threshold_keeps_its_rate(rate):
    scores = np.random.default_rng(0).standard_normal(1237)
    for values in (scores, np.round(scores, 1)):
        threshold = quantile_above(values, rate)
        assert (values > threshold).mean() <= rate
        lower = values[values < threshold]
        assert (values > lower.max()).mean() > rate


@pytest.mark.parametrize("slices", [10_000, 7])
def test_thresholds_are_of_held_out_foreground_tokens(stream, queries, normal_store, slices):
    detector = fitted(MemoryBankSpec(size=200), stream)
    held_out = open_stream(normal_store([6, 5], name="h.zarr", first=30))
    found = calibrate_detector(detector, held_out, slices=slices)
    assert found.n_slices == min(slices, 11)
    if slices > 11:
        scores = detector.score(queries)[queries.foreground > 0].numpy()
        assert found.n_tokens == len(scores)
        for rate, threshold in found.thresholds.items():
            assert threshold == pytest.approx(np.quantile(scores, 1 - rate, method="higher"), abs=0.02)
    assert found.thresholds[0.1] < found.thresholds[0.05] < found.thresholds[0.01]


def test_heights_are_standardised():
    generator = np.random.default_rng(0)
    height = torch.from_numpy(generator.uniform(0, 150, 200_000)).float()
    level, spread = 1 + height / 50, 0.5 + height / 150
    scores = level + spread * torch.from_numpy(generator.standard_normal(200_000)).float()
    scale = fit_heights(scores, height)
    z = scale.apply(scores[:, None, None], height).flatten()
    for low in range(0, 150, 10):
        here = z[(height >= low) & (height < low + 10)]
        assert abs(float(here.mean())) < 0.15
        assert abs(float(here.std()) - 1) < 0.1


def test_few_normals_at_a_height_make_no_anomalies():
    scores, height = torch.randn(5000, generator=torch.Generator().manual_seed(0)), torch.full((5000,), 60.0)
    scores, height = (
        torch.cat([scores, torch.tensor([0.5] * 5)]),
        torch.cat([height, torch.full((5,), 200.0)]),
    )
    scale = fit_heights(scores, height)
    spread = float(scores.std(correction=0))
    assert float(scale.sd.min()) >= spread / BOUND * 0.999
    assert torch.isfinite(scale.mean).all()
    constant = fit_heights(torch.ones(30), torch.full((30,), 10.0))
    applied = constant.apply(torch.ones(1, 2, 2), torch.tensor([10.0]))
    assert torch.isfinite(applied).all()


def test_calibration_per_height(stream, normal_store):
    detector = fitted(MemoryBankSpec(size=200), stream)
    held_out = open_stream(normal_store([6, 5], name="h.zarr", first=30))
    found = calibrate_detector(detector, held_out, per_height=True)
    batch = join([batch for _, batch in held_out.in_order(64)])
    z = found.scale.apply(detector.score(batch), batch.height_mm)[batch.foreground > 0]
    for rate, threshold in found.thresholds.items():
        assert (z > threshold + 1e-4).float().mean() <= rate
        assert (z > threshold - 0.3).float().mean() > rate


def test_without_foreground_there_is_no_threshold(stream, normal_store):
    def empty(arrays, place):
        arrays["foreground"] = np.zeros_like(arrays["foreground"])

    nothing = open_stream(normal_store([3], name="n.zarr", first=40, change=empty))
    with pytest.raises(SlicecacheError, match="no threshold"):
        calibrate_detector(fitted(MemoryBankSpec(size=50), stream), nothing)
