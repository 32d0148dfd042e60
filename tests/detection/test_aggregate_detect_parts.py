"""Parts of detection alone: who is in which part, limits of volume scores, tiles of the report."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aggregate.anomaly.arithmetic.scales.height_scale import fit_heights
from aggregate.anomaly.detectors.base import Detector
from aggregate.anomaly.detectors.position import PositionBaselineSpec
from aggregate.anomaly.findings.results import ShownVolume
from aggregate.anomaly.reference.group import StudyVolume, assign_parts, check_parts
from aggregate.anomaly.reference.prepare import store_labels
from aggregate.anomaly.scoring.fitted import drawn, volume_limit
from aggregate.anomaly.scoring.volumes import VolumeScores, standardise_scores, volume_score
from aggregate.anomaly.spec import SharesSpec
from aggregate.report.figures.images.tiles import shown_slices, tile_sheet
from cache_schema.common.errors import SlicecacheError
from extract.slices.preview import spread_tiles

NAMES = st.sets(st.text("abcdefgh", min_size=1, max_size=3), min_size=0, max_size=30)


@given(normal=NAMES, outside=NAMES, seed=st.integers(0, 5), test=st.sampled_from([0.0, 0.2, 0.5]))
def test_a_participant_is_in_one_part_and_never_fitted_on_when_outside_too(normal, outside, seed, test):
    shares = SharesSpec(fit=0.8 - test, calibration=0.2, test=test, seed=seed)
    free = normal - outside
    if len(free) < (3 if test else 2):
        with pytest.raises(SlicecacheError, match="the reference group has"):
            assign_parts(normal, outside, shares)
        return
    parts = assign_parts(normal, outside, shares)
    assert set(parts) == normal
    assert {parts[name] for name in normal & outside} <= {"test"}
    assert {"fit", "calibration"} <= {parts[name] for name in free}
    assert assign_parts(sorted(normal, reverse=True), outside, shares) == parts


def test_shares_are_kept_and_one_more_participant_moves_few():
    names = [f"p{n:03d}" for n in range(200)]
    parts = assign_parts(names, (), SharesSpec())
    counts = {part: list(parts.values()).count(part) for part in ("fit", "calibration", "test")}
    assert counts == {"fit": 120, "calibration": 40, "test": 40}
    after = assign_parts([*names, "new"], (), SharesSpec())
    assert sum(after[name] != parts[name] for name in names) <= 3
    assert assign_parts(names, (), SharesSpec(seed=1)) != parts


@pytest.fixture
def volumes(normal_store):
    store = normal_store([5, 6, 7, 5])
    return [(entry, store.record(entry.key)) for entry in store.entries]


def test_a_participant_in_two_parts_is_impossible(volumes):
    good = [
        StudyVolume(*volume, part, True)
        for volume, part in zip(volumes, ("fit", "calibration"), strict=False)
    ]
    check_parts(good)
    torn = [*good, StudyVolume(*volumes[0], "other", False)]
    with pytest.raises(SlicecacheError, match="in one part, but p000 is in two"):
        check_parts(torn)


def test_one_volume_under_two_names_is_refused(volumes):
    (first, record), (second, _), *_ = volumes
    twin = record.model_copy(update={"participant_id": second.key.participant_id})
    members = [StudyVolume(first, record, "fit", True), StudyVolume(second, twin, "other", False)]
    with pytest.raises(SlicecacheError, match="have the same content"):
        check_parts(members)


def test_an_empty_part_is_refused(volumes):
    with pytest.raises(SlicecacheError, match="in the part 'calibration'"):
        check_parts([StudyVolume(*volumes[0], "fit", True)])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), st.sampled_from([0.1, 0.05, 0.01]))
def test_a_volume_limit_holds_for_one_more_exchangeable_normal(scores, rate):
    # Any of the n + 1 is equally likely to be the new one: each is held against the limit of the others.
    above = 0
    for place, score in enumerate(scores):
        limit = volume_limit(scores[:place] + scores[place + 1 :], rate)
        above += limit is not None and score > limit
    assert above <= rate * len(scores) + 1e-9


def test_a_rate_needs_enough_normals():
    assert [volume_limit(list(range(n)), 0.1) for n in (8, 9, 10)] == [None, 8, 9]
    assert volume_limit(list(range(18)), 0.05) is None
    assert volume_limit(list(range(19)), 0.05) == 18
    assert volume_limit(list(range(98)), 0.01) is None


def test_a_volume_score_is_the_mean_of_the_top_hundredth_of_the_foreground():
    generator = np.random.default_rng(0)
    tokens = generator.standard_normal((13, 7, 5)).astype(np.float32)
    foreground = (generator.random((13, 7, 5)) < 0.7).astype(np.float32)
    inside = np.sort(tokens[foreground > 0].astype(np.float64))[::-1]
    assert len(inside) // 100 == 3
    assert volume_score(tokens, foreground) == pytest.approx(inside[:3].mean())
    few = foreground * 0
    few[0, 0, :4] = 1
    assert volume_score(tokens, few) == pytest.approx(tokens[0, 0, :4].max())
    assert volume_score(tokens, foreground * 0) == 0


def test_standardising_slice_scores_equals_scoring_standardised_slices():
    import torch

    generator = np.random.default_rng(1)
    tokens = generator.standard_normal((6, 11, 13)).astype(np.float32) * np.arange(1, 7)[:, None, None]
    heights = np.linspace(3, 60, 6).astype(np.float32)
    scale = fit_heights(
        torch.from_numpy(tokens.reshape(6, -1).ravel()), torch.from_numpy(np.repeat(heights, 143))
    )
    foreground = torch.from_numpy((generator.random((6, 11, 13)) < 0.8).astype(np.float32))
    detector: Detector = PositionBaselineSpec().build(0)
    raw = detector.slice_scores(torch.from_numpy(tokens.astype(np.float32)), foreground).numpy()
    found = standardise_scores(VolumeScores(tokens.astype(np.float32), raw, 0.0), scale, heights)
    expected = detector.slice_scores(torch.from_numpy(found.tokens), foreground).numpy()
    np.testing.assert_allclose(found.slices, expected, rtol=1e-4, atol=1e-5)


def test_slices_for_thresholds_are_drawn_over_all_volumes():
    slices = [range(300), range(5, 10), range(200)]
    kept = drawn(slices, 100)
    assert sum(map(len, kept)) == 100
    assert all(set(some) <= set(own) for some, own in zip(kept, slices, strict=True))
    assert 45 <= len(kept[0]) <= 75
    assert drawn(slices, 505) == slices


def test_labels_of_stores_differ():
    assert store_labels(["main", "a/x.zarr", "b/x.zarr"]) == {
        "main": "main", "a/x.zarr": "x", "b/x.zarr": "x-2",
    }  # fmt: skip


def finding(n: int, preview: bytes | None = None) -> ShownVolume:
    tokens = np.zeros((n, 3, 5), dtype=np.float32)
    tokens[n // 2, 1, 3] = 7.0
    return ShownVolume(
        "x", preview, tokens, np.ones_like(tokens), np.arange(n, dtype=np.float32), tokens.max((1, 2)), 1.0
    )


@pytest.mark.parametrize("n", [1, 5, 12, 31])
def test_tiles_lie_where_previews_have_them(n):
    assert shown_slices(n) == spread_tiles(n)[::-1]
    _, png = tile_sheet(finding(n), 7.0)
    picture = np.asarray(Image.open(io.BytesIO(png)))[..., :3]
    columns = min(6, n)
    assert picture.shape[:2] == (-(-min(n, 12) // columns) * 112, columns * 112)


def test_a_hot_patch_is_coloured_at_its_place_and_the_rest_is_the_preview():
    grey = np.full((112, 5 * 112), 90, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    _, png = tile_sheet(finding(5, out.getvalue()), 7.0)
    picture = np.asarray(Image.open(io.BytesIO(png)))[..., :3].astype(int)
    changed = (picture != 90).any(axis=2)
    rows, columns = changed.nonzero()
    # Slice 2 of 5 is the middle tile; its patch (1, 3) of 3 x 5 is centred at row 56, column 78.
    assert columns.min() > 2 * 112
    assert columns.max() < 3 * 112
    assert abs(rows.mean() - 55.5) < 2
    assert abs(columns.mean() - (2 * 112 + 77.9)) < 3
