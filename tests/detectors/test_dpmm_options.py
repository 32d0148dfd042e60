"""Options of the DPMM one by one: what is fitted, which patches count, how far a token is."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from aggregate.anomaly.arithmetic.mixture.distances import token_scores
from aggregate.anomaly.arithmetic.mixture.object_mask import object_mask
from aggregate.anomaly.arithmetic.mixture.update import Mixture
from aggregate.anomaly.detectors.base import Detector, SliceBatch
from aggregate.anomaly.detectors.dpmm import DpmmSpec
from aggregate.testing.detectors import check_detector
from aggregate.testing.slices import (
    PATCHES,
    TOKEN_DIM,
    fit_slices,
    fitted_to,
    normal_slices,
    planted,
    started,
    with_tokens,
)
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics

NORMAL, HELD_OUT = normal_slices([9, 7, 11]), normal_slices([5], first=30)
QUERIES = planted(normal_slices([6], first=50))
QUICK = {"components": 30, "epochs": 3}


def fitted(**changes) -> Detector:
    return fitted_to(DpmmSpec(**{**QUICK, **changes}), 0, NORMAL, HELD_OUT)


@pytest.mark.parametrize(
    "changes",
    [
        {"pca": 4, "mask": "foreground"},
        {"pca": 5, "place": True, "init": "paper"},
        {"place": True, "schedule": "em"},
        {"mask": "object", "mask_threshold": 0.5, "score": "likelihood", "preset": "as_released"},
        {"score": "squared_euclidean", "covariance": "full", "schedule": "exp"},
    ],
    ids=str,
)
def test_a_fit_goes_on_to_the_same_bits_and_scores_from_its_state(changes):
    spec = DpmmSpec(**{**QUICK, **changes})
    whole = fitted_to(spec, 0, NORMAL, HELD_OUT)
    for stop in range(1, whole.epochs):
        first, second = (started(spec, 0, NORMAL) for _ in range(2))
        for epoch in fit_slices(first, NORMAL, HELD_OUT):
            if epoch + 1 == stop:
                break
        second.load_state(first.state())
        for _ in fit_slices(second, NORMAL, HELD_OUT, first=stop):
            pass
        assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
    again = started(spec, 0, NORMAL)
    again.load_state(whole.state())
    scores = whole.score(QUERIES)
    assert torch.equal(again.score(QUERIES), scores)
    assert scores.shape == (6, *PATCHES)
    assert bool(torch.isfinite(scores).all())


def test_the_laws_hold_of_principal_directions_and_places():
    check_detector({"kind": "dpmm", "components": 30, "epochs": 3, "pca": 6, "place": True})


def test_directions_are_scikit_learn_s():
    detector = fitted(pca=4)
    tokens = torch.nn.functional.normalize(NORMAL.patches.flatten(0, 2).double(), dim=1).numpy()
    theirs = PCA(4).fit(tokens)
    ours = detector._features
    np.testing.assert_allclose(ours.centre.numpy(), theirs.mean_, atol=1e-12)
    cosines = (ours.directions.numpy() * theirs.components_).sum(1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-9)
    given = ours.of(ours.tokens(QUERIES.patches))
    np.testing.assert_allclose(given.norm(dim=1), 1, atol=1e-12)
    query = torch.nn.functional.normalize(QUERIES.patches.flatten(0, 2).double(), dim=1).numpy()
    projected = theirs.transform(query) * np.sign(cosines)
    np.testing.assert_allclose(given, projected / np.linalg.norm(projected, axis=1)[:, None], atol=1e-9)


def test_more_directions_than_numbers_are_refused():
    with pytest.raises(SlicecacheError, match=f"pca: 12 directions are more than the {TOKEN_DIM}"):
        started(DpmmSpec(pca=12), 0, NORMAL)


@pytest.mark.parametrize("changes", [{}, {"init": "paper"}, {"pca": 3}])
def test_a_mask_that_leaves_nothing_is_named(changes):
    with pytest.raises(SlicecacheError, match="mask: object leaves no token"):
        fitted(mask="object", mask_threshold=1e6, **changes)


def test_a_place_stands_behind_each_token():
    features = started(DpmmSpec(place=True), 0, NORMAL)._features
    found = features.tokens(QUERIES.patches).view(6, *PATCHES, TOKEN_DIM + 2)
    assert torch.equal(found[2, 1, :, TOKEN_DIM], torch.linspace(-1, 1, PATCHES[1], dtype=torch.float64))
    assert torch.equal(found[2, :, 3, TOKEN_DIM + 1], torch.linspace(-1, 1, PATCHES[0], dtype=torch.float64))
    # The same token where it does not belong.
    detector = fitted(place=True)
    normal = normal_slices([6], first=50)
    turned = with_tokens(normal, normal.patches.flip(1, 2))
    assert float(detector.score(turned).mean()) > 2 * float(detector.score(normal).mean())


def test_patches_off_the_foreground_are_neither_fitted_nor_called():
    spoilt = NORMAL.patches.clone()
    spoilt[NORMAL.foreground == 0] = 50.0
    one = fitted_to(DpmmSpec(**QUICK, mask="foreground"), 0, NORMAL, HELD_OUT)
    other = fitted_to(DpmmSpec(**QUICK, mask="foreground"), 0, with_tokens(NORMAL, spoilt), HELD_OUT)
    inside = QUERIES.foreground > 0
    assert torch.equal(one.score(QUERIES)[inside], other.score(QUERIES)[inside])
    assert bool((one.score(QUERIES)[~inside] == 0).all())
    assert not inside.all()


def test_masked_patches_have_the_lowest_likelihood_score_of_their_slice():
    scores = fitted(mask="foreground", score="likelihood").score(QUERIES)
    for one, inside in zip(scores, QUERIES.foreground > 0, strict=True):
        assert bool((one[~inside] == one[inside].min()).all())


def test_the_held_out_loss_is_of_the_patches_that_count():
    whole, masked = fitted(), fitted(mask="foreground")
    masked._fit.mixture = whole._fit.mixture
    inside = HELD_OUT.foreground[0] > 0
    each = [
        whole.held_out_loss(one_patch(HELD_OUT, int(r), int(c)))  # of single patches
        for r, c in inside.nonzero()
    ]
    torch.testing.assert_close(masked.held_out_loss(HELD_OUT), torch.stack(each).mean(0))


def one_patch(slices: SliceBatch, row: int, col: int) -> SliceBatch:
    cut = (slice(None), slice(row, row + 1), slice(col, col + 1))
    return SliceBatch(
        slices.patches[cut],
        slices.foreground[cut],
        slices.intensity[cut],
        slices.cls,
        slices.height_mm,
        slices.volume,
    )


def test_the_object_mask_is_that_of_a_loop():
    stream = np.random.default_rng(0)
    patches = stream.standard_normal((3, 9, 8, 6))
    patches[0, 2:6, 3:6] += 9
    patches[1, 7:, :2] -= 9
    found = object_mask(torch.from_numpy(patches.astype(np.float32)), 8.0).numpy()
    for one, given in zip(found, patches.astype(np.float32), strict=True):
        tokens = given.reshape(72, 6).astype(np.float64)
        along = PCA(1).fit_transform(tokens)[:, 0].reshape(9, 8)
        expected = np.abs(along) > 8
        for step in ("any", "any", "all"):
            fill = step == "all"
            around = np.pad(expected, 1, constant_values=fill)
            expected = np.array(
                [[getattr(around[r : r + 3, c : c + 3], step)() for c in range(8)] for r in range(9)]
            )
        np.testing.assert_array_equal(one, expected)
    assert found[0].any()
    assert not found[0].all()
    assert not object_mask(torch.full((1, 4, 4, 3), 2.0), 0.1).any()


@pytest.mark.parametrize("full", [False, True])
def test_distances_are_the_loops_over_tokens_and_components(full):
    generator = torch.Generator().manual_seed(1)
    tokens, mean = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (8, 3))
    root = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT + 0.2 * torch.eye(4)
    matrix = matrix if full else torch.diag_embed(matrix.diagonal(dim1=1, dim2=2))
    covariance = matrix if full else matrix.diagonal(dim1=1, dim2=2).contiguous()
    mixture = Mixture(torch.zeros(3, dtype=torch.float64), mean, covariance, 1e-6)
    for weighted, kind in ((False, "euclidean"), (True, "mahalanobis")):
        expected = []
        for y in tokens:
            away = [y - mu for mu in mean]
            metric = [torch.linalg.inv(one) if weighted else torch.eye(4).double() for one in matrix]
            expected.append(min(float(a @ m @ a) for a, m in zip(away, metric, strict=True)))
        squared = torch.tensor(expected, dtype=torch.float64)
        near = {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(token_scores(f"squared_{kind}", tokens, mixture), squared, **near)
        torch.testing.assert_close(token_scores(kind, tokens, mixture), squared.sqrt(), **near)


@pytest.mark.parametrize("kind", ["euclidean", "mahalanobis"])
def test_the_squared_distance_is_the_distance_squared(kind):
    plain, squared = fitted(score=kind), fitted(score=f"squared_{kind}")
    torch.testing.assert_close(squared.score(QUERIES), plain.score(QUERIES).square())
    with_diagonal = plain._kept.mixture.covariance
    assert with_diagonal.shape[1] == TOKEN_DIM


def test_one_spread_for_all_directions_where_spherical():
    detector = fitted(covariance="spherical")
    covariance, ours = detector._kept.mixture.covariance, fitted()._kept.mixture.covariance
    assert bool((covariance == covariance[:, :1]).all())
    assert not bool((ours == ours[:, :1]).all())


def test_alpha_stays_where_it_is_fixed():
    assert fitted(learn_concentration=False, concentration=3.0)._fit.concentration == 3.0
    learned = fitted(concentration=3.0)._fit.concentration
    assert math.isfinite(learned)
    assert learned != 3.0
