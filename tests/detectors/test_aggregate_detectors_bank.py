"""Banks against what they stand for, written out: nearest tokens, samples, coresets, slice scores."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from aggregate.anomaly.arithmetic import coreset, nearest
from aggregate.anomaly.arithmetic.coreset import greedy_coreset
from aggregate.anomaly.arithmetic.kmeans import kmeans, kmeans_each
from aggregate.anomaly.arithmetic.nearest import largest_cosine, nearest_euclidean
from aggregate.anomaly.arithmetic.reservoir import Reservoir
from aggregate.anomaly.detectors.base import Reference, SliceBatch
from aggregate.anomaly.detectors.memory_bank import MemoryBankSpec
from aggregate.anomaly.detectors.patchcore import PatchcoreSpec
from aggregate.anomaly.fitting.fit import fit
from aggregate.anomaly.fitting.rebatch import join
from aggregate.anomaly.fitting.stream import open_stream
from cache_schema.common.errors import ConfigError, SlicecacheError

pytestmark = pytest.mark.numerics


def draw(seed, *shape, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def batch_of(patches, foreground=None, height=None):
    n, rows, cols = patches.shape[:3]
    return SliceBatch(
        patches=patches,
        foreground=torch.ones(n, rows, cols) if foreground is None else foreground,
        intensity=torch.zeros(n, rows, cols),
        cls=patches.mean((1, 2)),
        height_mm=torch.zeros(n) if height is None else height,
        volume=torch.arange(n),
    )


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(nearest, "QUERIES", 7)
    monkeypatch.setattr(nearest, "BANK", 11)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("queries", "tokens"), [(1, 1), (7, 11), (23, 50), (8, 12)])
def test_blocks_find_the_nearest_token(queries, tokens):
    query, bank = normalize(draw(0, queries, 13), dim=1), normalize(draw(1, tokens, 13), dim=1)
    expected = (query.double() @ bank.double().T).amax(1)
    torch.testing.assert_close(largest_cosine(query, bank).double(), expected, rtol=0, atol=1e-5)
    found = nearest_euclidean(query, bank)
    distance = torch.tensor([[float((q - b).norm()) for b in bank] for q in query])
    torch.testing.assert_close(found.distance, distance.amin(1), rtol=0, atol=1e-5)
    assert torch.equal(found.index, distance.argmin(1))


def test_a_token_of_the_bank_is_at_distance_zero():
    bank = 40 + draw(0, 50, 384)
    found = nearest_euclidean(bank[[3, 30]], bank)
    assert found.distance.tolist() == [0, 0]
    assert found.index.tolist() == [3, 30]


def test_the_memory_bank_is_a_brute_force_search(normal_store):
    store = normal_store([5, 3, 4])
    stream = open_stream(store)
    detector = MemoryBankSpec(bank="all").build(0)
    fit([detector], stream)
    tokens = torch.from_numpy(np.concatenate([store.read_volume("patches", e.key) for e in store.entries]))
    bank = tokens.double().reshape(-1, 11)
    query = draw(3, 2, 3, 5, 11)
    scores = detector.score(batch_of(query))
    for one, score in zip(query.double().reshape(-1, 11), scores.flatten(), strict=True):
        cosines = [float(one @ b / one.norm() / b.norm()) for b in bank]
        assert float(score) == pytest.approx(1 - max(cosines), abs=1e-5)


@pytest.mark.parametrize(("rows", "cols", "top"), [(32, 32, 10), (9, 11, 1), (10, 10, 1), (20, 10, 2)])
def test_a_slice_scores_the_mean_of_its_largest_percent(rows, cols, top):
    detector = MemoryBankSpec().build(0)
    scores = draw(4, 3, rows, cols)
    expected = np.sort(scores.reshape(3, -1).numpy(), axis=1)[:, ::-1][:, :top].astype(np.float64).mean(1)
    found = detector.slice_scores(scores, torch.ones_like(scores))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    if top == 1:
        assert torch.equal(found, scores.flatten(1).amax(1))


def test_a_slice_scores_its_foreground_alone():
    scores = draw(4, 3, 20, 20)
    foreground = (draw(5, 3, 20, 20) > 0.4).float()
    foreground[2] = 0
    found = MemoryBankSpec().build(0).slice_scores(scores, foreground)
    for i in range(2):
        inside = np.sort(scores[i][foreground[i] > 0].numpy())[::-1]
        assert float(found[i]) == pytest.approx(inside[: max(1, len(inside) // 100)].mean(), rel=1e-6)
    assert float(found[2]) == 0


def test_a_window_compares_with_tokens_of_its_height(normal_store):
    stream = open_stream(normal_store([9, 6]))
    detector = MemoryBankSpec(bank="all", height_window_mm=3.0).build(0)
    fit([detector], stream)
    everything = join([batch for _, batch in stream.in_order(64)])
    query = batch_of(draw(6, 3, 3, 5, 11), height=torch.tensor([4.0, 15.0, 900.0]))
    scores = detector.score(query)
    for i, height in enumerate(query.height_mm):
        near = (everything.height_mm - height).abs() <= 3
        near = near if near.any() else torch.ones_like(near)
        bank = normalize(everything.patches[near].flatten(0, 2), dim=1)
        expected = 1 - (normalize(query.patches[i].flatten(0, 1), dim=1) @ bank.T).amax(1)
        torch.testing.assert_close(scores[i].flatten(), expected, rtol=0, atol=1e-5)


def test_background_stays_out_of_the_bank_when_asked(normal_store):
    stream = open_stream(normal_store([5, 3]))
    everything = join([batch for _, batch in stream.in_order(64)])
    detector = MemoryBankSpec(bank="all", min_foreground=0.5).build(0)
    fit([detector], stream)
    assert len(detector.state()["bank"]) == int((everything.foreground >= 0.5).sum())

    def empty(arrays, place):
        arrays["foreground"] = np.zeros_like(arrays["foreground"])

    nothing = open_stream(normal_store([2], name="empty.zarr", change=empty))
    with pytest.raises(SlicecacheError, match=r"min_foreground: 0\.5"):
        fit([MemoryBankSpec(min_foreground=0.5).build(0)], nothing)


def test_a_bank_beyond_the_memory_is_refused():
    detector = MemoryBankSpec(bank="all").build(0)
    with pytest.raises(ConfigError, match=r"7680000 reference tokens take 11 GiB.*bank: uniform"):
        detector.start(Reference(384, (32, 32), 7500, 50))


@pytest.mark.parametrize("bad", [{"bank": "kmeans", "height_window_mm": 3}, {"bank": "all", "size": 5}])
def test_settings_that_contradict_are_refused(bad):
    with pytest.raises(ValueError, match=r"kmeans|leave size out"):
        MemoryBankSpec(**bad)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 30),
    cuts=st.lists(st.integers(0, 17), min_size=1, max_size=12),
    seed=st.integers(0, 99),
)
def test_a_sample_does_not_depend_on_batches(size, cuts, seed):
    rows = torch.arange(sum(cuts))
    pieces, whole = Reservoir(size, seed), Reservoir(size, seed)
    for part in rows.split(cuts):
        pieces.add(part, 2.0 * part)
    whole.add(rows, 2.0 * rows)
    assert len(whole) == min(size, len(rows))
    first, second = whole.rows()
    assert torch.equal(first, pieces.rows()[0])
    assert torch.equal(second, 2.0 * first)
    assert first.tolist() == sorted(set(first.tolist()))


def test_a_sample_is_uniform():
    counts = np.zeros(40)
    for seed in range(2000):
        sample = Reservoir(10, seed)
        for part in torch.arange(40).split(7):
            sample.add(part)
        counts[sample.rows()[0].numpy()] += 1
    # Each row is in 1 of 4 samples: 500 +- 19.4.
    assert np.abs(counts - 500).max() < 4.5 * 19.4


def greedy(points, size, first):
    """k-centre as it is told: always the point farthest from all picks."""
    picks = [first]
    while len(picks) < size:
        distances = [((x - points[picks]) ** 2).sum(axis=1).min() for x in points]
        if max(distances) == 0:
            break
        picks.append(int(np.argmax(distances)))
    return picks


@pytest.mark.parametrize("active", [5, 40, 4096])
def test_the_coreset_is_the_greedy_one(monkeypatch, active):
    points = np.random.default_rng(0).standard_normal((500, 8))
    monkeypatch.setattr(coreset, "ACTIVE", active)
    found = greedy_coreset(torch.from_numpy(points), 60, seed=1)
    first = int(np.random.default_rng(1).integers(500))
    assert found.tolist() == greedy(points, 60, first)
    single = greedy_coreset(torch.from_numpy(points).float(), 60, seed=1)
    assert single.tolist() == found.tolist()


@pytest.mark.parametrize("active", [5, 4096])
def test_the_coreset_settles_ties_by_order_and_stops_at_copies(monkeypatch, active):
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), axis=-1).reshape(-1, 2)
    points = np.concatenate([grid, grid[::-1]])
    monkeypatch.setattr(coreset, "ACTIVE", active)
    found = greedy_coreset(torch.from_numpy(points), 35, seed=3)
    first = int(np.random.default_rng(3).integers(40))
    assert found.tolist() == greedy(points, 35, first)
    assert len(found) == 20


def lloyd(points, centroids, iterations):
    for _ in range(iterations):
        nearest_one = ((points[:, None] - centroids) ** 2).sum(2).argmin(1)
        for k in range(len(centroids)):
            if (nearest_one == k).any():
                centroids[k] = points[nearest_one == k].mean(0)
    return centroids


def test_kmeans_is_lloyds():
    points = np.random.default_rng(0).standard_normal((200, 5))
    start = np.sort(np.random.default_rng(4).choice(200, size=9, replace=False))
    expected = lloyd(points, points[start].copy(), 6)
    found = kmeans(torch.from_numpy(points), 9, seed=4, iterations=6)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


def test_kmeans_of_each_set_is_lloyds_best_start():
    points = np.random.default_rng(0).standard_normal((3, 20, 5))
    inside = np.random.default_rng(1).random((3, 20)) > 0.4
    seeds = [[7, i] for i in range(3)]
    found = kmeans_each(torch.from_numpy(points), torch.from_numpy(inside), 2, seeds, 4, 20)
    for i, seed in enumerate(seeds):
        generator, own, best = np.random.default_rng(seed), points[i][inside[i]], (np.inf, None)
        for _ in range(4):
            start = generator.choice(np.flatnonzero(inside[i]), size=2, replace=False)
            centroids = lloyd(own, points[i][start].copy(), 20)
            inertia = ((own[:, None] - centroids) ** 2).sum(2).min(1).sum()
            if inertia < best[0] - 1e-12:
                best = (inertia, centroids)
        np.testing.assert_allclose(found[i].numpy(), best[1], atol=1e-10)


def test_patchcore_weighs_a_slice_by_its_neighbours(normal_store):
    detector = PatchcoreSpec(size=40, sample=150).build(0)
    fit([detector], open_stream(normal_store([5, 3, 4])))
    bank = detector.state()["bank"].double().numpy()
    batch = batch_of(draw(7, 3, 3, 5, 11), foreground=(draw(8, 3, 3, 5) > -0.5).float())
    batch.foreground[2] = 0
    found = detector.score_slices(batch, detector.score(batch))
    for i in range(2):
        tokens = batch.patches[i][batch.foreground[i] > 0].double().numpy()
        distances = np.sqrt(((tokens[:, None] - bank) ** 2).sum(2))
        token = distances.min(1).argmax()
        nearest_one = distances[token].argmin()
        about = np.argsort(((bank - bank[nearest_one]) ** 2).sum(1))[:9]
        assert about[0] == nearest_one
        weight = 1 - np.exp(distances[token, nearest_one]) / np.exp(distances[token, about]).sum()
        assert float(found[i]) == pytest.approx(weight * distances[token].min(), rel=1e-5)
    assert float(found[2]) == 0
