"""The DPMM against its textbook form written out, over a kill, and on degenerate tokens."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from scipy.stats import multivariate_normal
from torch import Tensor

from aggregate.anomaly.arithmetic.mixture.distances import cosine_scores
from aggregate.anomaly.arithmetic.mixture.gaussians import density_bound, log_density
from aggregate.anomaly.arithmetic.mixture.rules import LIVING, OURS
from aggregate.anomaly.arithmetic.mixture.start import EvenDraw, first_sticks
from aggregate.anomaly.arithmetic.mixture.update import (
    Mixture,
    Statistics,
    log_weights,
    observe,
    stick_shares,
)
from aggregate.anomaly.detectors.base import Reference, SliceBatch
from aggregate.anomaly.detectors.dpmm import Dpmm, DpmmSpec
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics

DIM, ROWS, COLS = 6, 5, 7


class Textbook:
    """The same fit as it is written: differences and N x D x D products, loops over components."""

    def __init__(self, first_tokens: Tensor, components: int, full: bool, seed: int, alpha: float = 2.0):
        self.full, self.alpha, self.k = full, alpha, components
        self.reg = 1e-3 if full else 1e-6
        self.mu = torch.stack([first_tokens[k % len(first_tokens)] for k in range(components)])
        spread = first_tokens.var(0, correction=0) + self.reg
        self.cov = torch.stack([torch.diag(spread)] * components)
        self.v = first_sticks(components, alpha, seed).tolist()
        dim = first_tokens.shape[1]
        self.r = [0.0] * components
        self.m = torch.zeros(components, dim, dtype=torch.float64)
        self.c = torch.zeros(components, dim, dim, dtype=torch.float64)

    def log_pi(self) -> list[float]:
        left, out = 0.0, []
        for v in self.v:
            out.append((math.log(v) if v > 0 else -math.inf) + left)
            left += math.log1p(-v) if v < 1 else -math.inf
        return out

    def log_joint(self, y: Tensor) -> Tensor:
        columns = []
        for weight, mu, cov in zip(self.log_pi(), self.mu, self.cov, strict=True):
            away = y - mu
            square = ((away @ torch.linalg.inv(cov)) * away).sum(1)
            columns.append(weight - 0.5 * (square + torch.logdet(cov) + y.shape[1] * math.log(2 * math.pi)))
        return torch.stack(columns, 1)

    def step(self, y: Tensor, rate: float = 0.2) -> None:
        n = len(y)
        joint = self.log_joint(y)
        share = (joint - joint.logsumexp(1, keepdim=True)).exp()
        products = y[:, :, None] * y[:, None, :]
        for k in range(self.k):
            weight = share[:, k]
            self.r[k] = (1 - rate) * self.r[k] + rate * float(weight.mean())
            self.m[k] = (1 - rate) * self.m[k] + rate * (weight[:, None] * y).mean(0)
            self.c[k] = (1 - rate) * self.c[k] + rate * (weight[:, None, None] * products).mean(0)
            self.mu[k] = self.m[k] / (self.r[k] + OURS.eps)
            cov = self.c[k] / (self.r[k] + OURS.eps) - self.mu[k][:, None] * self.mu[k][None, :]
            cov = cov if self.full else torch.diag(cov.diagonal())
            self.cov[k] = cov + self.reg * torch.eye(len(cov), dtype=torch.float64)
        behind = [sum(self.r[k + 1 :]) for k in range(self.k)]
        self.v = [
            min(1.0, max(0.0, r / (r + (self.alpha - 1) / n + t + OURS.eps)))
            for r, t in zip(self.r, behind, strict=True)
        ]
        self.v[-1] = 1.0
        total = sum(
            digamma(n * (r + t) + self.alpha + 1) - digamma(n * t + self.alpha)
            for r, t in list(zip(self.r, behind, strict=True))[:-1]
        )
        self.alpha = (self.k - 1) / float(total)

    def active(self) -> list[int]:
        return [k for k, weight in enumerate(self.log_pi()) if weight > math.log(LIVING)]

    def cosine_map(self, y: Tensor) -> Tensor:
        best = torch.full((len(y),), -math.inf, dtype=torch.float64)
        for k in self.active():
            best = torch.maximum(best, (y * self.mu[k]).sum(1) / y.norm(dim=1) / self.mu[k].norm())
        return 1 - best


def slices(n: int, seed: int, scale: float = 3.0) -> SliceBatch:
    """Tokens around twelve centres, float32, of any length."""
    centres = np.random.default_rng(0).standard_normal((12, DIM))
    stream = np.random.default_rng(seed + 1)
    which = stream.integers(12, size=(n, ROWS, COLS))
    width = np.linspace(0.05, 0.5, 12)[which][..., None]
    tokens = scale * (centres[which] + width * stream.standard_normal((n, ROWS, COLS, DIM)))
    return batch_of(torch.from_numpy(tokens.astype(np.float32)))


def batch_of(patches: Tensor) -> SliceBatch:
    n, rows, cols, _ = patches.shape
    ones = torch.ones(n, rows, cols)
    return SliceBatch(patches, ones, ones, patches[:, 0, 0], torch.zeros(n), torch.zeros(n, dtype=torch.long))


def unit(batch: SliceBatch) -> Tensor:
    tokens = batch.patches.flatten(0, 2).double()
    return tokens / tokens.norm(dim=1, keepdim=True)


def started(seed: int = 3, dim: int = DIM, **changes) -> Dpmm:
    detector = DpmmSpec(**changes).build(seed)
    assert isinstance(detector, Dpmm)
    detector.start(Reference(dim, (ROWS, COLS), 36, 3))
    return detector


def fit(detector: Dpmm, epochs: range) -> None:
    for epoch in epochs:
        for step in range(3):
            detector.observe(slices(12 if step < 2 else 5, 10 * epoch + step), epoch)
        loss = detector.held_out_loss(slices(4, 999))
        detector.end_epoch(epoch, float(loss.mean()))


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_hundred_steps_are_the_textbook_s(covariance):
    ours = started(init="paper", components=30, covariance=covariance)
    textbook = Textbook(unit(slices(12, 0)), 30, covariance == "full", seed=3)
    new = slices(2, 777)
    checked = {1, 5, 20, 50, 100}
    for step in range(1, 101):
        batch = slices(12 if step % 7 else 5, step - 1)
        ours.observe(batch, 0)
        textbook.step(unit(batch))
        if step not in checked:
            continue
        mixture = ours._fit.mixture
        alive = (mixture.log_weight > math.log(LIVING)).nonzero().squeeze(1).tolist()
        assert alive == textbook.active()
        torch.testing.assert_close(mixture.mean, textbook.mu, rtol=0, atol=1e-5)
        weights = torch.tensor(textbook.log_pi(), dtype=torch.float64).exp()
        torch.testing.assert_close(mixture.log_weight.exp(), weights, rtol=0, atol=1e-6)
        assert ours._fit.concentration == pytest.approx(textbook.alpha, rel=1e-6)
        ours.end_epoch(0, None)
        expected = textbook.cosine_map(unit(new))
        torch.testing.assert_close(ours.score(new).flatten().double(), expected, rtol=0, atol=1e-4)
        loss = -textbook.log_joint(unit(new)).logsumexp(1).view(2, -1).mean(1)
        torch.testing.assert_close(ours.held_out_loss(new), loss, rtol=1e-6, atol=1e-6)
    assert 5 < len(textbook.active()) < 30


def test_at_the_published_width_the_first_steps_are_the_textbook_s():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(9, 384, generator=generator)
    which = torch.randint(9, (1, ROWS, COLS), generator=generator)
    batch = batch_of(centres[which] + 0.3 * torch.randn(1, ROWS, COLS, 384, generator=generator))
    ours, textbook = started(dim=384, init="paper", components=9), Textbook(unit(batch), 9, False, seed=3)
    for _ in range(2):
        ours.observe(batch, 0)
        textbook.step(unit(batch))
    torch.testing.assert_close(ours._fit.mixture.mean, textbook.mu, rtol=0, atol=1e-5)
    weights = torch.tensor(textbook.log_pi(), dtype=torch.float64)
    torch.testing.assert_close(ours._fit.mixture.log_weight.exp(), weights.exp(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("full", [False, True])
def test_log_density_is_scipy_s(full):
    generator = torch.Generator().manual_seed(2)
    tokens, mean = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (7, 3))
    root = torch.randn(3, 5, 5, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT + 0.1 * torch.eye(5)
    given = matrix if full else matrix.diagonal(dim1=1, dim2=2).contiguous()
    found = log_density(tokens, mean, given)
    for k in range(3):
        expected = multivariate_normal(mean[k].numpy(), given[k].numpy() if full else np.diag(given[k]))
        np.testing.assert_allclose(found[:, k], expected.logpdf(tokens.numpy()), rtol=1e-10)


@pytest.mark.parametrize("full", [False, True])
def test_no_token_of_the_norm_beats_the_bound(full):
    generator = torch.Generator().manual_seed(4)
    mean = 0.3 * torch.randn(20, 5, generator=generator, dtype=torch.float64)
    root = 0.2 * torch.randn(20, 5, 5, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT + 1e-3 * torch.eye(5)
    covariance = matrix if full else matrix.diagonal(dim1=1, dim2=2).contiguous()
    tokens = torch.nn.functional.normalize(
        torch.randn(500, 5, generator=generator, dtype=torch.float64), dim=1
    )
    tokens *= 1 + torch.rand(500, 1, generator=generator, dtype=torch.float64)
    bound = density_bound(1.0, mean, covariance, 1e-3)
    assert bool((log_density(tokens, mean, covariance) <= bound).all())


def test_components_that_cannot_matter_are_left_out_without_a_trace():
    detector = started(init="paper", components=30)
    for step in range(300):
        detector.observe(slices(12, step), 0)
    mixture, tokens = detector._fit.mixture, unit(slices(12, 500))
    assert int((mixture.log_weight <= math.log(OURS.eps)).sum()) > 3
    zero = Statistics.zero(30, DIM, full=False)
    observe(tokens, mixture, zero, 1.0)
    share = mixture.log_joint(tokens).softmax(1)
    torch.testing.assert_close(zero.mass, share.mean(0), rtol=0, atol=1e-15)
    torch.testing.assert_close(zero.first, share.T @ tokens / len(tokens), rtol=0, atol=1e-15)
    torch.testing.assert_close(zero.second, share.T @ tokens.square() / len(tokens), rtol=0, atol=1e-15)


def test_a_revived_component_is_not_left_out():
    mean = torch.eye(2, 4, dtype=torch.float64)
    variance = torch.full((2, 4), 1e-3, dtype=torch.float64)
    weight = torch.tensor([0.0, -60.0], dtype=torch.float64)
    to = Statistics.zero(2, 4, full=False)
    observe(mean.clone(), Mixture(weight, mean, variance, 1e-6), to, 1.0)
    torch.testing.assert_close(to.mass, torch.full((2,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("init", ["uniform", "paper"])
def test_equal_tokens_score_zero_and_stay_finite(covariance, init):
    token = torch.linspace(-1, 2, DIM)
    same = batch_of(token.expand(2, ROWS, COLS, DIM).clone())
    detector = started(init=init, covariance=covariance, components=50, epochs=30)
    for epoch in range(detector.epochs):
        detector.observe(same, epoch)
        loss = detector.held_out_loss(same)
        drawing = init == "uniform" and epoch == 0
        assert bool(torch.isinf(loss).all() if drawing else torch.isfinite(loss).all())
        detector.end_epoch(epoch, float(loss.mean()))
    torch.testing.assert_close(detector.score(same), torch.zeros(2, ROWS, COLS), rtol=0, atol=1e-6)
    assert bool(torch.isfinite(detector.score(slices(2, 0))).all())


@pytest.mark.parametrize("init", ["uniform", "paper"])
def test_more_components_than_tokens(init):
    few = batch_of(slices(1, 0).patches[:, :2, :3])
    detector = started(init=init, components=40, epochs=20)
    for epoch in range(detector.epochs):
        detector.observe(few, epoch)
        detector.end_epoch(epoch, None)
    scores = detector.score(few)
    assert bool(torch.isfinite(scores).all())
    assert bool(torch.isfinite(detector.state()["best.mean"]).all())


def test_tokens_of_zeros_are_scored():
    detector = started(components=10, epochs=2)
    fit(detector, range(3))
    scores = detector.score(batch_of(torch.zeros(1, ROWS, COLS, DIM)))
    assert torch.equal(scores, torch.ones(1, ROWS, COLS))


def test_one_component_keeps_alpha():
    detector = started(components=1, init="paper", epochs=1)
    fit(detector, range(1))
    assert detector._fit.concentration == 2.0


def test_sticks_stay_shares_when_alpha_falls_below_one():
    mass = torch.tensor([0.2, 0.0, 1e-9, 0.0], dtype=torch.float64)
    share = stick_shares(mass, 10, 0.5, OURS)
    assert bool(((share >= 0) & (share <= 1)).all())
    assert float(log_weights(share).exp().sum()) == pytest.approx(1)


def test_the_draw_is_even_over_the_stream_and_seeded():
    counts = np.zeros(30)
    for seed in range(600):
        draw = EvenDraw(6, 1, seed)
        for batch in range(3):
            tokens = torch.arange(10 * batch, 10 * batch + 10, dtype=torch.float64)[:, None]
            draw.observe(tokens, batch)
        drawn = draw.tokens[:, 0].numpy().astype(int)
        assert len(set(drawn)) == 6
        counts[drawn] += 1
    # 120 expected of each; five standard deviations.
    assert np.abs(counts - 120).max() < 5 * math.sqrt(600 * 0.2 * 0.8)
    again = EvenDraw(6, 1, 599)
    for batch in range(3):
        again.observe(torch.arange(10 * batch, 10 * batch + 10, dtype=torch.float64)[:, None], batch)
    assert torch.equal(again.tokens, draw.tokens)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_resumed_fit_ends_at_the_same_bits(killed_after, covariance):
    whole, first, resumed = (started(components=20, epochs=5, covariance=covariance) for _ in range(3))
    assert whole.epochs == 6
    fit(whole, range(6))
    fit(first, range(killed_after))
    resumed.load_state(first.state())
    fit(resumed, range(killed_after, 6))
    expected, found = whole.state(), resumed.state()
    assert (
        expected.keys()
        == found.keys()
        == {
            "best.loss",
            "best.log_weight",
            "best.mean",
            "best.covariance",
            "history",
        }
    )
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize("score", ["cosine", "likelihood"])
def test_a_completed_fit_scores_from_its_state(score):
    detector, again = (started(components=20, epochs=2, score=score) for _ in range(2))
    fit(detector, range(3))
    again.load_state(detector.state())
    new = slices(3, 60)
    # Bits: a killed run scores from the state.
    assert torch.equal(again.score(new), detector.score(new))
    assert detector.score(new).shape == (3, ROWS, COLS)
    assert float(detector.score(batch_of(-new.patches)).mean()) > float(detector.score(new).mean())


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_tokens_kept_in_half_precision_give_the_same_map(covariance):
    def rounded(batch: SliceBatch) -> SliceBatch:
        return batch_of(batch.patches.half().float())

    whole, half = (started(init="paper", components=20, covariance=covariance) for _ in range(2))
    for step in range(20):
        whole.observe(slices(12, step), 0)
        half.observe(rounded(slices(12, step)), 0)
    whole.end_epoch(0, None), half.end_epoch(0, None)
    new = slices(3, 60)
    torch.testing.assert_close(half.score(rounded(new)), whole.score(new), rtol=0, atol=5e-4)


def test_the_best_epoch_by_held_out_loss_is_kept():
    detector = started(components=20, init="paper", epochs=4)
    means = []
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.5]):
        detector.observe(slices(12, epoch), epoch)
        mixture = detector._fit.mixture
        means.append(mixture.mean[mixture.log_weight > math.log(LIVING)])
        assert detector.end_epoch(epoch, loss) is (epoch == 3)
    assert torch.equal(detector.state()["best.mean"], means[1])


def test_cosine_scores_do_not_depend_on_the_token_s_length():
    tokens, mean = slices(1, 0).patches.flatten(0, 2), unit(slices(1, 1))
    torch.testing.assert_close(
        cosine_scores(tokens, mean), cosine_scores(7 * tokens, mean), rtol=0, atol=1e-6
    )


def test_scores_need_a_fit_and_states_must_match():
    detector = started(components=20)
    with pytest.raises(SlicecacheError, match="was not"):
        detector.score(slices(1, 0))
    fit(detector, range(2))
    other = started(components=21)
    with pytest.raises(SlicecacheError, match=r"fit\.mass"):
        other.load_state(detector.state())
    with pytest.raises(SlicecacheError, match=r"best\.loss"):
        other.load_state({})
