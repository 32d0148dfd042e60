"""Pixel metrics against scikit-learn and written-out loops: exact, streamed, merged, resampled."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from aggregate.anomaly.maps.placement import Placement
from aggregate.anomaly.measure import metrics as binned
from aggregate.anomaly.measure.histogram import (
    Bins,
    VoxelTally,
    empty_tally,
    exact_bins,
    linear_bins,
    score_bins,
)
from aggregate.anomaly.measure.intervals import auroc_interval, participant_intervals
from aggregate.anomaly.measure.metrics import fpr_thresholds, image_metrics, pixel_metrics
from aggregate.anomaly.measure.regions import connected, ground_of
from aggregate.anomaly.measure.tally import tally_volume
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics

SHAPE = (11, 17, 23)


def whole(shape=SHAPE) -> Placement:
    """A volume whose voxels are its tokens."""
    slices, rows, columns = shape
    return Placement(
        (columns, rows, slices),
        (2, 1, 0),
        np.eye(rows, dtype=np.float32),
        np.eye(columns, dtype=np.float32),
        np.arange(slices),
    )


def case(seed: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores and lesions `(slice, row, column)`; few levels make ties."""
    rng = np.random.default_rng(seed)
    lesion = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.5) > 0.12
    lesion[3, 4, 5] = lesion[4, 5, 6] = True  # touching by a corner in 3D only
    scores = rng.normal(size=SHAPE) + 1.2 * lesion
    if levels:
        scores = np.round(scores * levels / 6)
    return scores.astype(np.float32), lesion


def tallied(
    scores, lesion, bins, thresholds=(), connectivity="volume", foreground=None
) -> dict[str, VoxelTally]:
    place = whole(scores.shape)
    native = lesion.transpose(2, 1, 0)
    share = np.ones(scores.shape, np.float32) if foreground is None else foreground.astype(np.float32)
    return tally_volume(scores, place, ground_of(native, place, share, connectivity), bins, thresholds)


def written_out_aupro(scores, lesion, connectivity: str, limit: float = 0.3) -> float:
    """Every distinct score as a threshold, every lesion by itself, trapezoids up to the limit."""
    regions = []
    if connectivity == "volume":
        labels, count = ndimage.label(lesion, np.ones((3, 3, 3)))
        regions = [labels == number for number in range(1, count + 1)]
    else:
        for index in range(len(lesion)):
            labels, count = ndimage.label(lesion[index], np.ones((3, 3)))
            for number in range(1, count + 1):
                region = np.zeros(lesion.shape, dtype=bool)
                region[index] = labels == number
                regions.append(region)
    points = [(0.0, 0.0)]
    for threshold in np.unique(scores)[::-1]:
        called = scores >= threshold
        overlap = np.mean([called[region].mean() for region in regions])
        points.append((float(called[~lesion].mean()), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@pytest.mark.parametrize("levels", [None, 9, 2])
@pytest.mark.parametrize("connectivity", ["slice", "volume"])
def test_exact_form_is_scikit_learns_and_the_written_out_one(levels, connectivity):
    scores, lesion = case(0, levels)
    bins = exact_bins(scores)
    found = pixel_metrics(tallied(scores, lesion, bins, connectivity=connectivity)["all"], bins)
    y, p = lesion.ravel(), scores.ravel()
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(y, p), abs=1e-9)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(y, p), abs=1e-9)
    assert found["aupro"] == pytest.approx(written_out_aupro(scores, lesion, connectivity), abs=1e-9)
    best = max(2 * (p[y] >= t).sum() / ((p >= t).sum() + y.sum()) for t in np.unique(p))
    assert found["dice_oracle"] == pytest.approx(best, abs=1e-9)
    assert found["prevalence"] == pytest.approx(y.mean())
    threshold = max(found["dice_oracle_threshold"], float(p.min()))
    assert 2 * (p[y] >= threshold).sum() / ((p >= threshold).sum() + y.sum()) == pytest.approx(best)


@pytest.mark.parametrize("spread", ["normal", "heavy tails"])
@pytest.mark.parametrize("make", [score_bins, lambda s: linear_bins(float(s.min()), float(s.max()))])
def test_streamed_form_is_within_a_ten_thousandth(spread, make):
    scores, lesion = case(1)
    if spread == "heavy tails":
        if make is not score_bins:
            pytest.skip("linear bins alone are for scores without tails")
        scores = np.exp(3 * scores)
    bins, exact = make(scores), exact_bins(scores)
    assert (bins.linear is None) == (spread == "heavy tails")
    streamed = pixel_metrics(tallied(scores, lesion, bins)["all"], bins)
    true = pixel_metrics(tallied(scores, lesion, exact)["all"], exact)
    for name in ("pixel_auroc", "pixel_ap", "aupro", "dice_oracle"):
        assert streamed[name] == pytest.approx(true[name], abs=1e-4), name


def test_merging_volumes_is_measuring_them_together():
    parts = [case(seed) for seed in (2, 3, 4)]
    pooled = np.concatenate([scores for scores, _ in parts])
    lesions = np.concatenate([lesion for _, lesion in parts])
    bins, thresholds = score_bins(pooled), (0.5, 1.5)
    merged = empty_tally(bins, 2)
    for scores, lesion in parts:
        merged = merged + tallied(scores, lesion, bins, thresholds, "slice")["all"]
    at_once = tallied(pooled, lesions, bins, thresholds, "slice")["all"]
    for name in ("normal", "lesion", "called", "found", "n_lesions", "hidden"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(at_once, name))
    np.testing.assert_allclose(merged.weight, at_once.weight, atol=1e-12)
    with pytest.raises(SlicecacheError, match="do not add up"):
        merged + empty_tally(bins, 1)


def test_counts_at_a_threshold_are_exact():
    scores, lesion = case(5)
    bins = linear_bins(-6, 6, 11)
    tally = tallied(scores, lesion, bins, (0.777,))["all"]
    found = pixel_metrics(tally, bins, ("fpr05",))
    called = scores >= np.float32(0.777)
    assert found["dice_fpr05"] == pytest.approx(2 * (called & lesion).sum() / (called.sum() + lesion.sum()))
    assert found["pixel_fpr_fpr05"] == pytest.approx(called[~lesion].mean())
    labels, count = ndimage.label(lesion, np.ones((3, 3, 3)))
    shares = np.array([called[labels == number].mean() for number in range(1, count + 1)])
    assert found["lesion_sensitivity_fpr05"] == pytest.approx(np.mean(shares >= 0.1))
    assert found["pro_fpr05"] == pytest.approx(np.mean(shares))
    assert found["n_lesions"] == count


def test_thresholds_of_normals_hold_their_rate():
    scores, _ = case(6)
    bins = score_bins(scores)
    normals = tallied(scores, np.zeros(SHAPE, bool), bins)["all"]
    for name, threshold in fpr_thresholds(
        normals, bins, {"fpr10": 0.1, "fpr05": 0.05, "fpr01": 0.01}
    ).items():
        rate = {"fpr10": 0.1, "fpr05": 0.05, "fpr01": 0.01}[name]
        assert rate - 2 / scores.size <= (scores >= threshold).mean() <= rate
    tied = VoxelTally(
        np.array([0, 9]),
        np.zeros(2, int),
        np.zeros(2),
        0,
        np.zeros((0, 2), int),
        np.zeros(0, int),
        np.zeros(0),
        0,
    )
    assert fpr_thresholds(tied, Bins(np.array([1.0])), {"fpr05": 0.05}) == {"fpr05": float("inf")}


def test_regions_leave_out_and_count_what_they_hide():
    scores, lesion = case(7)
    foreground = np.zeros(SHAPE)
    foreground[2:9, 3:15, 4:20] = 1
    foreground[1] = 0.49
    bins = exact_bins(scores)
    tallies = tallied(scores, lesion, bins, foreground=foreground)
    inside = foreground >= 0.5
    found = pixel_metrics(tallies["foreground"], bins)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(lesion[inside], scores[inside]), abs=1e-9)
    assert found["hidden_lesion"] == pytest.approx((lesion & ~inside).sum() / lesion.sum())
    labels, _ = ndimage.label(lesion, np.ones((3, 3, 3)))
    assert found["n_lesions"] == len(np.unique(labels[inside & lesion]))
    # A lesion that is seen whole weighs one, and so does one that is seen in part.
    assert tallies["foreground"].weight.sum() == pytest.approx(found["n_lesions"])
    assert tallies["all"].hidden == 0


def test_slices_that_are_not_kept_hide_their_lesions_but_keep_them_whole():
    lesion = np.zeros((5, 3, 3), dtype=bool)
    lesion[0:4, 1, 1] = True
    place = whole((5, 3, 3))
    place = Placement(place.shape, place.axes, place.rows, place.columns, np.array([3, 0]))
    ground = ground_of(lesion.transpose(2, 1, 0), place, np.ones((2, 3, 3), np.float32))
    scores = np.zeros((2, 3, 3), np.float32)
    scores[0, 1, 1] = 5  # the first kept slice is native slice 3
    tally = tally_volume(scores, place, ground, linear_bins(0, 5), (1.0,))["all"]
    assert (tally.n_lesions, tally.hidden, int(tally.lesion.sum())) == (1, 2, 2)
    assert tally.called.tolist() == [[0, 1]]
    assert tally.found.tolist() == [1]


def test_connectivity():
    lesion = np.zeros((3, 4, 4), dtype=bool)
    lesion[0, 0, 0] = lesion[0, 1, 1] = True  # a corner within a slice
    lesion[1, 2, 2] = True  # a corner across slices
    lesion[2, 0, 3] = True
    assert connected(lesion, "slice")[1] == 3
    assert connected(lesion, "volume")[1] == 2
    assert connected(np.zeros((2, 3, 3), dtype=bool), "volume")[1] == 0


def test_what_is_not_defined_is_nan():
    scores, lesion = case(8)
    bins = score_bins(scores)
    for truth in (np.zeros(SHAPE, bool), np.ones(SHAPE, bool)):
        found = pixel_metrics(tallied(scores, truth, bins, (0.0,))["all"], bins, ("fpr05",))
        assert np.isnan(found["pixel_auroc"])
        assert np.isnan(found["aupro"])
        assert np.isnan(found["pixel_ap"])
    constant = np.full(SHAPE, 0.3, np.float32)
    bins = score_bins(constant)
    assert len(bins) == 1
    found = pixel_metrics(tallied(constant, lesion, bins)["all"], bins)
    assert found["pixel_auroc"] == 0.5
    assert found["pixel_ap"] == pytest.approx(lesion.mean())
    assert found["aupro"] == pytest.approx(0.15)


def test_bins_never_turn_two_scores_round():
    rng = np.random.default_rng(9)
    scores = np.sort(rng.normal(size=5000)).astype(np.float32)
    for bins in (linear_bins(float(scores[0]), float(scores[-1])), score_bins(scores), exact_bins(scores)):
        index = bins.index(scores)
        assert (np.diff(index) >= 0).all()
        assert index.min() == 0
        assert index.max() <= len(bins) - 1
    assert bins.index(scores).tolist() == np.unique(scores, return_inverse=True)[1].tolist()
    with pytest.raises(SlicecacheError, match="finite range"):
        linear_bins(0, float("nan"))


def test_coarse_tallies_are_nested():
    scores, lesion = case(10)
    bins = linear_bins(-6, 6, 103)
    fine = tallied(scores, lesion, bins)["all"]
    coarse_bins = bins.coarse(10)
    direct = tallied(scores, lesion, Bins(coarse_bins.edges))["all"]
    coarse = fine.coarse(10)
    assert len(coarse.normal) == len(coarse_bins) == 11
    np.testing.assert_array_equal(coarse.lesion, direct.lesion)
    np.testing.assert_array_equal(coarse.normal, direct.normal)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_curves_equal_scikit_learn_whatever_the_ties(rows):
    p, y = (np.array(column) for column in zip(*rows, strict=True))
    normal, lesion = (np.bincount(p[y == side], minlength=6) for side in (False, True))
    if y.any() and not y.all():
        assert binned.binned_auroc(normal, lesion) == pytest.approx(roc_auc_score(y, p), abs=1e-9)
        expected = average_precision_score(y, p)
        assert binned.average_precision(normal, lesion) == pytest.approx(expected, abs=1e-9)
        # With one lesion per voxel the mean overlap is the recall, and the whole area is the AUROC.
        area = binned.aupro(normal, lesion.astype(float), lesion.sum(), limit=1.0)
        assert area == pytest.approx(roc_auc_score(y, p), abs=1e-9)
    else:
        assert np.isnan(binned.binned_auroc(normal, lesion))


def people(n: int, bins: Bins, effect: float = 1.2) -> list[VoxelTally]:
    """Participants, every third without a lesion."""
    made = []
    for seed in range(n):
        scores, lesion = case(100 + seed)
        scores = scores + np.float32(0.5 * np.random.default_rng(seed).normal())
        truth = lesion if seed % 3 else np.zeros(SHAPE, bool)
        made.append(tallied(scores, truth, bins, (1.0,))["all"].coarse(8))
    return made


def test_intervals_hold_the_value_and_draw_whole_participants():
    bins = linear_bins(-8, 8, 4096)
    tallies = people(15, bins)
    total = sum(tallies[1:], tallies[0])
    value = pixel_metrics(total, bins.coarse(8), ("fpr05",))
    found = participant_intervals(tallies, ("fpr05",), draws=200, seed=1)
    for name in ("pixel_auroc", "pixel_ap", "aupro", "dice_oracle", "dice_fpr05", "lesion_sensitivity_fpr05"):
        low, high = found[name]
        assert low < value[name] < high, name
    assert participant_intervals(tallies, ("fpr05",), draws=200, seed=1) == found
    # The written-out draw: sums of whole tallies, one by one.
    from aggregate.anomaly.measure.intervals import _draw

    sick = np.array([tally.lesion.sum() > 0 for tally in tallies])
    drawn = _draw(sick, 200, 1)
    assert (drawn[:, sick].sum(1) == sick.sum()).all()
    slow = []
    for counts in drawn:
        chosen = [t for t, count in zip(tallies, counts, strict=True) for _ in range(int(count))]
        slow.append(pixel_metrics(sum(chosen[1:], chosen[0]), bins.coarse(8))["aupro"])
    np.testing.assert_allclose(found["aupro"], np.quantile(slow, [0.025, 0.975]), atol=1e-12)


def test_slice_auroc_interval_counts_participants():
    rng = np.random.default_rng(3)
    whose = np.repeat([f"p{i}" for i in range(12)], 7)
    y = (np.repeat(np.arange(12) % 2, 7) * (rng.random(84) < 0.6)).astype(bool)
    scores = rng.normal(size=84) + y + np.repeat(rng.normal(size=12), 7)
    value, low, high = auroc_interval(y, scores, whose, draws=300)
    assert value == pytest.approx(roc_auc_score(y, scores))
    assert low < value < high
    alone = auroc_interval(y, scores, [str(i) for i in range(84)], draws=300)
    assert high - low > alone[2] - alone[1]
    assert np.isnan(auroc_interval(np.zeros(84, bool), scores, whose, draws=10)[0])


def test_few_participants_with_lesions_have_no_interval():
    """One lesion, drawn again and again, would get an interval of how the normals vary."""
    tallies = people(15, linear_bins(-8, 8, 4096))
    sick = [tally for tally in tallies if tally.lesion.sum()]
    normal = [tally for tally in tallies if not tally.lesion.sum()]
    few = participant_intervals([*normal, *sick[:4]], draws=50)
    assert all(np.isnan(limit) for limits in few.values() for limit in limits)
    assert not np.isnan(participant_intervals([*normal, *sick[:5]], draws=50)["pixel_auroc"]).any()


def test_image_metrics_by_hand():
    """Of five slices, ties included: thresholds 4, 3 and 1 call one, three and five of them."""
    y = np.array([True, False, True, False, True])
    found = image_metrics(y, np.array([4.0, 3.0, 3.0, 1.0, 1.0]))
    assert found["ap"] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3 + 1 / 3 * 3 / 5)
    assert found["f1_max"] == pytest.approx(2 * (3 / 5) * 1 / (3 / 5 + 1))
