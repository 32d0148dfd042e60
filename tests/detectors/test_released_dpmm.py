"""The DPMM as released: against numbers that the released class gave, and written out in slow loops."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy.special import digamma

from aggregate.anomaly.arithmetic.mixture.distances import cosine_scores
from aggregate.anomaly.arithmetic.mixture.fit import FitOptions, MixtureFit
from aggregate.anomaly.arithmetic.mixture.rules import AS_RELEASED, OURS, living
from aggregate.anomaly.arithmetic.mixture.start import first_covariance, first_means
from aggregate.anomaly.arithmetic.mixture.update import Mixture, log_weights, negative_log_likelihood
from aggregate.anomaly.detectors.registry import DetectorSpec, NewDetector

pytestmark = pytest.mark.numerics

PARITY = Path(__file__).parents[1] / "data" / "parity" / "dpmm_steps.npz"
LEAST = 2.0**-150
"""What float32 rounds to 0, up to here."""


@pytest.fixture(scope="module")
def released():
    return np.load(PARITY, allow_pickle=False)


def options(components: int, width: int, **changes) -> FitOptions:
    given = {
        "covariance": "diagonal",
        "reg": 1e-6,
        "rate": 0.2,
        "schedule": "ema",
        "concentration": 2.0,
        "learn_concentration": True,
        "rules": AS_RELEASED,
    }
    return FitOptions(components=components, width=width, **{**given, **changes})


def tensor(values) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values)).double()


def begun(released, case: str, least: float) -> MixtureFit:
    """Ours at the start that the released class drew."""
    mean, variance, sticks = (tensor(released[f"{case}_start_{name}"]) for name in ("mean", "var", "v"))
    fit = MixtureFit(options(*mean.shape))
    fit.mixture = Mixture(log_weights(sticks, least), mean, variance, 1e-6)
    return fit


@pytest.mark.parametrize(("case", "run"), [("a", "f64"), ("b", "f64drop")])
def test_thirty_steps_are_the_released_ones(released, case, run):
    fit = begun(released, case, AS_RELEASED.least_log_weight)
    batches = tensor(released[f"{case}_batches"])
    held_out = tensor(released[f"{case}_held_out"])

    def given(name):
        return tensor(released[f"{case}_{run}_{name}"])

    taking_part = (fit.mixture.log_weight > -math.inf).numpy()
    np.testing.assert_array_equal(taking_part, released[f"{case}_f32_start_taking_part"])
    for step in range(1, 31):
        fit.observe(batches[(step - 1) % 10])
        weight = fit.mixture.log_weight
        assert int(living(weight).sum()) == int(given("alive_every_step")[step - 1])
        assert fit.concentration == pytest.approx(float(given("alpha_every_step")[step]), rel=1e-9)
        places = (released[f"{case}_steps"] == step).nonzero()[0]
        if not len(places):
            continue
        place = int(places[0])
        near = {"rtol": 0, "atol": 1e-9}
        torch.testing.assert_close(fit.mixture.mean, given("mean")[place], **near)
        torch.testing.assert_close(fit.mixture.covariance, given("var")[place], **near)
        torch.testing.assert_close(fit.statistics.mass, given("mass")[place], **near)
        torch.testing.assert_close((weight - weight.logsumexp(0)).exp(), given("pi")[place], **near)
        kept = fit.mixture.take(living(weight))
        torch.testing.assert_close(cosine_scores(held_out, kept.mean), given("cosine")[place], **near)
        kept = fit.mixture.take(weight > math.log(1e-6))
        loss = -negative_log_likelihood(held_out, kept)
        torch.testing.assert_close(loss, given("loglik_above_1e6")[place], rtol=1e-9, atol=1e-9)


def test_in_single_precision_it_was_the_same_number_alive_and_nearly_the_same_map(released):
    for case in "ab":
        fit = begun(released, case, AS_RELEASED.least_log_weight)
        for step in range(30):
            fit.observe(tensor(released[f"{case}_batches"][step % 10]))
        kept = fit.mixture.take(living(fit.mixture.log_weight))
        assert len(kept.mean) == released[f"{case}_f32_alive_every_step"][-1]
        found = cosine_scores(tensor(released[f"{case}_held_out"]), kept.mean)
        assert float((found - tensor(released[f"{case}_f32_cosine"][-1])).abs().max()) < 5e-4


@pytest.mark.parametrize("wrong", ["eps", "last_stick_free", "least_log_weight"])
def test_each_rule_decides(released, wrong):
    """What the map would be by our rule in one place, for which the released numbers are no match."""
    case = "b" if wrong == "least_log_weight" else "a"
    least = OURS.least_log_weight if wrong == "least_log_weight" else AS_RELEASED.least_log_weight
    fit = begun(released, case, least)
    rules = {name: getattr(AS_RELEASED, name) for name in AS_RELEASED.__slots__}
    own = type(AS_RELEASED)(**{**rules, wrong: getattr(OURS, wrong)})
    fit.options = options(*fit.mixture.mean.shape, rules=own)
    for step in range(30):
        fit.observe(tensor(released[f"{case}_batches"][step % 10]))
    kept = fit.mixture.take(living(fit.mixture.log_weight))
    run = "f64drop" if case == "b" else "f64"
    found = cosine_scores(tensor(released[f"{case}_held_out"]), kept.mean)
    assert float((found - tensor(released[f"{case}_{run}_cosine"][-1])).abs().max()) > 5e-3


def test_the_start_is_the_released_one_but_for_the_draws(released):
    for case in "ab":
        tokens = tensor(released[f"{case}_batches"][0])
        size = len(released[f"{case}_start_mean"])
        variance = first_covariance(tokens, False, 1e-6, AS_RELEASED)
        given = tensor(released[f"{case}_start_var"])
        torch.testing.assert_close(variance.expand_as(given), given, rtol=0, atol=1e-6)
        order = released[f"{case}_start_permutation"]
        np.testing.assert_array_equal(np.sort(order), np.arange(size))
        ours = first_means(tokens, size, 3, AS_RELEASED)
        places = (ours[:, None] == tokens[None, :size]).all(2).nonzero()[:, 1]
        assert sorted(places.tolist()) == list(range(size)) != places.tolist()


def test_means_beyond_the_tokens_are_standard_normal():
    tokens = torch.nn.functional.normalize(torch.randn(20, 50, dtype=torch.float64), dim=1)
    means = first_means(tokens, 400, 0, AS_RELEASED)
    assert torch.equal(means[:20].sort(0).values, tokens.sort(0).values)
    rest = means[20:].flatten()
    assert float(rest.mean()) == pytest.approx(0, abs=0.03)
    assert float(rest.std()) == pytest.approx(1, abs=0.03)


class WrittenOut:
    """The released fit from its formulas: one component after another, plain numpy, nothing left out."""

    def __init__(self, fit: MixtureFit, share) -> None:
        self.mean = fit.mixture.mean.numpy().copy()
        self.k, self.dim = self.mean.shape
        self.var = np.broadcast_to(fit.mixture.covariance.numpy(), self.mean.shape).copy()
        self.log_pi = fit.mixture.log_weight.tolist()
        self.alpha = fit.concentration
        self.mass = np.zeros(self.k)
        self.first = np.zeros((self.k, self.dim))
        self.second = np.zeros((self.k, self.dim))
        self.share, self.t = share, 0
        self.spherical = fit.options.covariance == "spherical"
        self.learn = fit.options.learn_concentration

    def log_joint(self, tokens):
        found = np.full((len(tokens), self.k), -np.inf)
        for k in range(self.k):
            if math.exp(self.log_pi[k]) > LEAST:
                square = (tokens - self.mean[k]) ** 2 @ (1 / self.var[k])
                found[:, k] = self.log_pi[k] - 0.5 * (square + np.log(2 * np.pi * self.var[k]).sum())
        return found

    def step(self, tokens) -> None:
        self.t += 1
        rate, n = self.share(self.t), len(tokens)
        joint = self.log_joint(tokens)
        top = joint.max(1, keepdims=True)
        resp = np.exp(joint - top)
        resp /= resp.sum(1, keepdims=True)
        eps = 2.0**-23
        for k in range(self.k):
            own = resp[:, k]
            self.mass[k] = (1 - rate) * self.mass[k] + rate * own.mean()
            self.first[k] = (1 - rate) * self.first[k] + rate * (own @ tokens) / n
            self.second[k] = (1 - rate) * self.second[k] + rate * (own @ tokens**2) / n
            mean = self.first[k] / (self.mass[k] + eps)
            square = self.second[k] / (self.mass[k] + eps)
            var = square + mean**2 - 2 * mean * self.first[k] / (self.mass[k] + eps) + 1e-6
            self.mean[k], self.var[k] = mean, var.mean() if self.spherical else var
        behind = [self.mass[k + 1 :].sum() for k in range(self.k)]
        left, ahead = 0.0, 0.0
        for k in range(self.k):
            v = self.mass[k] / (self.mass[k] + (self.alpha - 1) / n + behind[k] + eps)
            self.log_pi[k] = left + (math.log(v) if v > 0 else -math.inf)
            left += math.log1p(-v)
            if k < self.k - 1:
                ahead += digamma(n * (self.mass[k] + behind[k]) + self.alpha + 1)
                ahead -= digamma(n * behind[k] + self.alpha)
        if self.learn:
            self.alpha = (self.k - 1) / ahead

    def cosine(self, tokens):
        pi = np.exp(self.log_pi)
        alive = pi / pi.sum() > 1e-6
        best = np.full(len(tokens), -np.inf)
        for mean in self.mean[alive]:
            cos = tokens @ mean / np.linalg.norm(mean) / np.linalg.norm(tokens, axis=1)
            best = np.maximum(best, cos)
        return int(alive.sum()), 1 - best


def batches(n: int, tokens: int, dim: int, seed: int) -> torch.Tensor:
    """Tokens of length 1 about 40 centres of unlike spread."""
    stream = np.random.default_rng(seed)
    centres = stream.standard_normal((40, dim)) / math.sqrt(dim)
    which = stream.integers(40, size=(n, tokens)) * stream.integers(2, size=(n, tokens))
    spread = np.linspace(0.2, 0.6, 40)[which][..., None] / math.sqrt(dim)
    found = centres[which] + spread * stream.standard_normal((n, tokens, dim))
    return torch.nn.functional.normalize(torch.from_numpy(found), dim=2)


SHARES = {"ema": lambda t: 0.2, "exp": lambda t: t**-0.2, "em": lambda t: 1.0}


def hold_to_the_written_out(steps: int, checked: set[int], given: torch.Tensor, components: int, **changes):
    own = options(components, given.shape[2], **changes)
    fit = MixtureFit(own)
    fit.begin(given[0], seed=5)
    slow = WrittenOut(fit, SHARES[own.schedule])
    alive = []
    for step in range(1, steps + 1):
        batch = given[(step - 1) % (len(given) - 1)]
        fit.observe(batch)
        slow.step(batch.numpy())
        if step not in checked:
            continue
        torch.testing.assert_close(fit.mixture.mean, torch.from_numpy(slow.mean), rtol=0, atol=1e-8)
        assert fit.concentration == pytest.approx(slow.alpha, rel=1e-8)
        kept = fit.mixture.take(living(fit.mixture.log_weight))
        count, cosine = slow.cosine(given[-1].numpy())
        assert len(kept.mean) == count
        # In the arithmetic that `score` has: single precision.
        found = cosine_scores(given[-1].float(), kept.mean)
        torch.testing.assert_close(found.double(), torch.from_numpy(cosine), rtol=0, atol=1e-5)
        alive.append(count)
    return alive


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": "exp"},
        {"schedule": "em"},
        {"learn_concentration": False},
        {"covariance": "spherical"},
    ],
    ids=str,
)
def test_every_option_is_the_written_out_one(changes):
    alive = hold_to_the_written_out(25, {1, 2, 10, 25}, batches(6, 150, 9, 1), 60, **changes)
    assert 3 < alive[-1] < 60


@pytest.mark.slow
def test_a_hundred_steps_at_the_published_size_are_the_written_out_ones():
    alive = hold_to_the_written_out(100, {1, 5, 20, 50, 100}, batches(9, 500, 384, 2), 500)
    assert alive[-1] < alive[0] < 500


def read(reader, **given):
    return TypeAdapter(reader).validate_python({"kind": "dpmm", **given})


def test_the_published_start_is_as_released_unless_a_file_says_otherwise():
    assert read(NewDetector, init="paper").preset == "as_released"
    assert read(NewDetector, init="paper", preset="ours").preset == "ours"
    assert read(NewDetector).preset is None
    written = read(NewDetector, init="paper", preset="ours").model_dump(mode="json")
    assert read(NewDetector, **written).fit_options(3).rules is OURS


def test_a_bundle_of_before_means_what_it_meant():
    stored = read(DetectorSpec, init="paper")
    assert stored.fit_options(3).rules is OURS
    assert "preset" not in stored.model_dump()
    known = {"store", "name", "kind", "components", "rate", "concentration"}
    known |= {"covariance", "init", "reg", "epochs", "score"}
    assert stored.model_dump(mode="json").keys() == known
