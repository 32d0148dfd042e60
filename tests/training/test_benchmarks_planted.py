"""Planted cohorts keep what they were fitted to, and their truth is where they say."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_store import example_draft, example_header, example_row

from aggregate.bags.bags import Bags
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    import planted
    import planted_cohorts as cohorts
    import planted_statistics as statistics
finally:
    sys.path.remove(str(ROOT / "benchmarks"))


def made_up_brains(n=60, slices=47, dim=13, seed=0):
    """A curve, people of two kinds of variation, and slices of which neighbours share a part."""
    generator = np.random.default_rng(seed)
    place = np.linspace(0, 3, slices)[:, None]
    x = 4 * np.sin(place + np.arange(dim)) + generator.normal(0, 0.3, (n, 1, 2)) @ generator.normal(
        0, 1, (2, dim)
    )
    noise = generator.normal(0, 1, (n, slices, 5))
    for at in range(1, slices):
        noise[:, at] = 0.6 * noise[:, at - 1] + 0.8 * noise[:, at]
    x = x + noise @ generator.normal(0, 0.7, (5, dim)) + generator.normal(0, 0.2, (n, slices, dim))
    count = generator.integers(slices - 3, slices + 1, n)
    keep = np.arange(slices) < count[:, None]
    height = 3.0 * (count[:, None] - 1 - np.arange(slices)) * keep
    return Bags(
        torch.from_numpy((x * keep[:, :, None]).astype(np.float32)),
        torch.from_numpy(keep),
        torch.from_numpy(height.astype(np.float32)),
    )


@pytest.fixture(scope="module")
def brains():
    return made_up_brains()


@pytest.fixture(scope="module")
def fitted(brains):
    return statistics.fit_bags(brains)


def same(a, b):
    """Whether two bags are the same to the bit."""
    return all(torch.equal(getattr(a, part), getattr(b, part)) for part in ("x", "keep", "height_mm"))


def test_drawn_cohorts_are_like_what_they_were_fitted_to(brains, fitted):
    real, drawn = cohorts.describe(brains), cohorts.describe(cohorts.draw(fitted, 200, 0))
    for name, value in real.items():
        close = 0.12 if name.startswith("autocorrelation") else 0.3 * value
        assert drawn[name] == pytest.approx(value, abs=close), name


def test_a_planted_cohort_is_reproducible_and_parts_are_other_bags(fitted):
    first, again, other = (
        cohorts.plant(fitted, "focal_wandering", 20, 3.0, seed=1, part=part) for part in (0, 0, 1)
    )
    assert same(first.bags, again.bags)
    assert (first.planted == again.planted).all()
    assert not torch.equal(first.bags.x, other.bags.x)
    assert first.y.sum() == other.y.sum() == 10


@pytest.mark.parametrize("effect", cohorts.EFFECTS)
def test_signs_are_where_the_truth_says_and_of_the_length_asked_for(fitted, effect):
    n, strength = 40, 2.5
    found = cohorts.plant(fitted, effect, n, strength, seed=3)
    without = cohorts.plant(fitted, effect, n, 0.0, seed=3)
    nothing = cohorts.plant(fitted, "nothing", n, strength, seed=3)
    assert same(without.bags, nothing.bags)
    added = (found.bags.x - nothing.bags.x).numpy()
    assert (np.abs(added).max(axis=2) > 0).tolist() == found.planted.tolist()
    assert not found.planted[~found.bags.keep.numpy()].any()
    counts = found.planted.sum(axis=1)
    patients = {"nothing": 0, "interaction": 2, "diffuse": found.bags.keep.sum(1).numpy()[found.y == 1]}
    assert (counts[found.y == 1] == patients.get(effect, cohorts.SIGNS)).all()
    assert (counts[found.y == 0] == (2 if effect == "interaction" else 0)).all()
    for shift in np.unique(added[found.planted].round(3), axis=0)[:1]:
        assert fitted.slices.distance(shift.astype(float)) == pytest.approx(strength, rel=0.01)


def test_a_fixed_sign_lies_at_one_height_and_a_wandering_one_does_not(fitted):
    def heights(effect):
        found = cohorts.plant(fitted, effect, 60, 1.0, seed=0)
        return {
            float(h[p].min())
            for h, p in zip(found.bags.height_mm.numpy(), found.planted, strict=True)
            if p.any()
        }

    assert len(heights("focal_fixed")) == 1
    assert len(heights("focal_wandering")) > 10


def test_an_interaction_leaves_the_mean_of_both_classes_alike(fitted):
    keep = torch.ones((400, 50), dtype=torch.bool).numpy()
    y, signs = cohorts.signs_of(fitted, "interaction", keep, 0, 0)
    for sign in signs:
        often = sign.slices.sum(axis=1)
        assert often[y == 1].tolist() == [1] * 200
        assert set(often[y == 0]) == {0, 2}
        assert often[y == 0].mean() == pytest.approx(1, abs=0.2)


def test_the_strength_gives_the_baseline_what_was_aimed_for_and_is_kept(fitted, tmp_path):
    strength = cohorts.find_strength(fitted, "focal_wandering", 40, tmp_path, seeds=1)
    reached = cohorts._pooled(fitted, "focal_wandering", 40, 10_000)(strength)
    assert reached == pytest.approx(cohorts.AIM, abs=0.02)
    kept = (tmp_path / "strengths.json").read_text()
    assert cohorts.find_strength(fitted, "focal_fixed", 40, tmp_path, seeds=0) == strength
    assert (tmp_path / "strengths.json").read_text() == kept


def test_a_store_gives_each_participant_once_and_the_columns_asked_for(tmp_path):
    rows = [example_row(VolumeKey(name, session, "T1w"), 6) for name in "abc" for session in ("1", "2")]
    writer = StoreWriter.open(str(tmp_path / "s.zarr"), example_header(("cls",), dim=8, slice_chunk=6), rows)
    for number, row in enumerate(rows):
        writer.commit(
            example_draft(row.key, 6), {"cls": np.arange(48, dtype=np.float32).reshape(6, 8) + number}
        )
    bags = statistics.store_bags(open_store(str(tmp_path / "s.zarr")), "cls", 4)
    assert bags.x[:, 0].tolist() == [[n, n + 2, n + 4, n + 6] for n in (0, 2, 4)]


def test_slices_found_is_counted_over_kept_slices_of_patients(fitted):
    cohort = cohorts.plant(fitted, "focal_wandering", 30, 1.0, seed=0)
    assert planted.slices_found(cohort, cohort.planted.astype(np.float32)) == 1.0
    assert planted.slices_found(cohort, np.ones(cohort.planted.shape, dtype=np.float32)) == 0.5
    assert np.isnan(planted.slices_found(cohorts.plant(fitted, "diffuse", 10, 1.0, 0), cohort.planted[:10]))
