"""Every detector of the registry keeps the laws, a good stranger too; a wrong one breaks the right law."""

import numpy as np
import pytest
import torch

from aggregate.anomaly.detectors.base import Detector, DetectorBase
from aggregate.anomaly.detectors.registry import DETECTORS
from aggregate.testing.detectors import DETECTOR_LAWS, check_detector
from aggregate.testing.slices import all_equal, fitted_to, normal_slices, reference_of, started
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.law import LawError

ALL = [example for kind in DETECTORS for example in kind.examples()]
every_detector = pytest.mark.parametrize(
    "spec", ALL, ids=lambda spec: spec.model_dump_json(exclude_defaults=True)
)


def fitted(spec: DetectorBase) -> Detector:
    return fitted_to(spec, 0, normal_slices([9, 7, 11]), normal_slices([5], first=30))


@pytest.mark.numerics
@every_detector
def test_ours_keep_every_law(spec):
    check_detector(spec)


def test_every_kind_but_custom_has_examples():
    assert {spec.kind for spec in ALL} == {kind.model_fields["kind"].default for kind in DETECTORS} - {
        "custom"
    }


@pytest.mark.numerics
@every_detector
def test_a_state_and_a_seed_give_the_same_bits(spec):
    first, second = fitted(spec), fitted(spec)
    # Bits, on one machine: a fit that was killed and starts anew must end at the same model.
    for name, value in first.state().items():
        assert torch.equal(value, second.state()[name]), name
    other = started(spec, 0, normal_slices([9, 7, 11]))
    other.load_state(first.state())
    # Bits: a run killed while it scores goes on from the state, and must leave the same files.
    queries = normal_slices([9, 5], first=50)
    assert torch.equal(first.score(queries), other.score(queries))


@every_detector
def test_a_state_of_another_shape_is_refused(spec):
    detector = fitted(spec)
    state = dict(detector.state())
    name = sorted(state)[0]
    detector.start(reference_of(normal_slices([9, 7, 11])))
    with pytest.raises(SlicecacheError, match=name):
        detector.load_state({**state, name: torch.zeros(2, 3, 5, 7, 2)})
    with pytest.raises(SlicecacheError, match=name):
        detector.load_state({key: value for key, value in state.items() if key != name})


@every_detector
def test_equal_tokens_are_not_anomalous(spec):
    slices = all_equal(normal_slices([9, 7]))
    detector = fitted_to(spec, 0, slices, slices)
    if detector.sees_tokens and not hasattr(spec, "learning_rate"):  # a network would have to learn it
        assert detector.score(all_equal(normal_slices([5], first=9))).abs().max() < 1e-3


@every_detector
def test_a_spec_survives_yaml(spec):
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec


class FarFromMean(torch.nn.Module):
    """The distance to the mean token of each place, in standard deviations over all of them."""

    def __init__(self, dim: int, grid: tuple[int, int], power: float = 1.0) -> None:
        super().__init__()
        self.power = power
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("total", torch.zeros(*grid, dim))

    def update(self, batch):
        self.count += len(batch)
        self.total += batch.patches.sum(0)

    def score(self, batch):
        return (batch.patches - self.total / self.count).norm(dim=3) ** self.power


class OtherShape(FarFromMean):
    def score(self, batch):
        return super().score(batch)[..., 0]


class NotFinite(FarFromMean):
    def score(self, batch):
        return super().score(batch) / 0


class UpsideDown(FarFromMean):
    def score(self, batch):
        return -super().score(batch)


class ByPlaceInTheBatch(FarFromMean):
    def score(self, batch):
        return super().score(batch) + torch.arange(len(batch))[:, None, None] / 100


class ByTheBatch(FarFromMean):
    def score(self, batch):
        found = super().score(batch)
        return found - found.mean()


class HalfAState(FarFromMean):
    def state(self):
        return {"total": self.total}

    def load_state(self, state):
        self.total = state["total"]


class StateOfNumbers(HalfAState):
    def state(self):
        return {"count": float(self.count)}


class Counts(FarFromMean):
    def __init__(self, dim, grid):
        super().__init__(dim, grid)
        self.register_buffer("calls", torch.zeros(()))

    def score(self, batch):
        self.calls += 1
        return super().score(batch)


class Hidden(FarFromMean):
    """Its second epoch needs what its state does not hold."""

    epochs = 2
    last = 1.0

    def update(self, batch):
        super().update(batch)
        self.total *= self.last
        self.last = 0.9


class Unseeded(FarFromMean):
    def __init__(self, dim, grid):
        super().__init__(dim, grid)
        self.register_buffer("scale", torch.tensor(1 + np.random.default_rng().random()))

    def score(self, batch):
        return super().score(batch) * self.scale


class FirstVolume(FarFromMean):
    """Believes in the first volume that it is shown; 3 is the first in the laws' first order."""

    def update(self, batch):
        if not self.count:
            self.register_buffer("sign", torch.tensor(1.0 if batch.volume[0] == LUCKY else -1.0))
        super().update(batch)

    def __init__(self, dim, grid):
        super().__init__(dim, grid)
        self.register_buffer("sign", None)

    def score(self, batch):
        return super().score(batch) * self.sign


class LastDigits(FarFromMean):
    def score(self, batch):
        return super().score(batch) + (batch.patches[..., 0] * 1e4).frac().abs()


class ByItsSpread(FarFromMean):
    def score(self, batch):
        return super().score(batch) / self.total.std()


class NeedsTwo(FarFromMean):
    def score(self, batch):
        return super().score(batch) * self.count / (self.count - 1)


SLICES = normal_slices([9, 7, 11, 4, 9, 8])
LUCKY, UNLUCKY = (
    SLICES.volume[torch.randperm(len(SLICES), generator=torch.Generator().manual_seed(1000 * order))[0]]
    for order in (0, 1)
)
WRONG = {
    "scores have the grid's shape and are finite": [OtherShape, NotFinite],
    "higher is more anomalous": [UpsideDown],
    "the order of slices does not matter": [ByPlaceInTheBatch],
    "a slice alone scores as in a batch": [ByTheBatch],
    "a state gives the same scores": [HalfAState, StateOfNumbers],
    "scoring leaves the state alone": [Counts],
    "a stopped fit goes on to the same scores": [Hidden],
    "the same seed gives the same scores": [Unseeded],
    "another order of the fit finds the same": [FirstVolume],
    "half precision is near": [LastDigits],
    "equal tokens have finite scores": [ByItsSpread],
    "one slice is enough or refused": [NeedsTwo],
}


@pytest.mark.parametrize("options", [{}, {"power": 2.0}])
def test_a_good_stranger_keeps_every_law(options):
    check_detector(FarFromMean, seed=3, **options)


@pytest.mark.parametrize(("law", "part"), [(law, part) for law, parts in WRONG.items() for part in parts])
def test_a_wrong_stranger_breaks_the_right_law(law, part):
    assert LUCKY != UNLUCKY
    with pytest.raises(LawError, match=law) as broken:
        check_detector(part)
    assert broken.value.law == law


def test_every_law_is_broken_by_somebody():
    assert set(WRONG) == set(DETECTOR_LAWS)


class NoState:
    def update(self, batch): ...

    def score(self, batch): ...


class NoScore(torch.nn.Module):
    def update(self, batch): ...


@pytest.mark.parametrize(
    ("part", "options", "words"),
    [
        (FarFromMean, {"powr": 2}, "the options .* do not fit: .*powr"),
        (NoState, {}, "has no state to keep"),
        (NoScore, {}, r"has no method score\(batch\)"),
        (FarFromMean(11, (3, 5)), {}, "every fit needs a fresh one"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(part, options, words):
    with pytest.raises(ConfigError, match=words):
        check_detector(part, **options)
