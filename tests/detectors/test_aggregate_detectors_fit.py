"""One read fits several detectors as separate reads would, and a killed fit ends at the same model."""

import logging
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from aggregate.anomaly.detectors.base import Detector, Reference, SliceBatch
from aggregate.anomaly.detectors.dino_ad import DinoAdSpec
from aggregate.anomaly.detectors.intensity import IntensityBaselineSpec
from aggregate.anomaly.detectors.mahalanobis import MahalanobisSpec
from aggregate.anomaly.detectors.memory_bank import MemoryBankSpec
from aggregate.anomaly.detectors.patchcore import PatchcoreSpec
from aggregate.anomaly.detectors.position import PositionBaselineSpec
from aggregate.anomaly.fitting.fit import fit
from aggregate.anomaly.fitting.stream import SliceStream, open_stream

pytestmark = pytest.mark.numerics

SPECS = (
    MemoryBankSpec(size=100),
    PatchcoreSpec(size=50, sample=200),
    MahalanobisSpec(),
    DinoAdSpec(),
    PositionBaselineSpec(),
    IntensityBaselineSpec(),
)


class Steps(Detector):
    """A detector of several epochs whose state depends on every batch and its order."""

    batch_slices = 6
    epochs_wanted = 5
    best = 100

    @property
    def epochs(self) -> int:
        return self.epochs_wanted

    def start(self, reference: Reference) -> None:
        self.mean = torch.zeros(reference.dim)
        self.seen: list[int] = []
        self.losses: list[float | None] = []

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        self.seen.append(len(batch))
        noise = torch.rand((), generator=torch.Generator().manual_seed(100 * self.seed + epoch))
        self.mean = 0.7 * self.mean + noise * batch.patches.mean((0, 1, 2))

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        self.losses.append(held_out)
        return epoch + 1 >= min(self.epochs, self.best)

    def held_out_loss(self, batch: SliceBatch) -> Tensor:
        return (batch.patches - self.mean).square().mean((1, 2, 3))

    def score(self, batch: SliceBatch) -> Tensor:
        return (batch.patches - self.mean).square().mean(3)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.mean = state["mean"]


class OtherSteps(Steps):
    batch_slices = 11
    epochs_wanted = 3


class Killed(Exception):
    pass


@pytest.fixture
def store(normal_store):
    return normal_store([9, 7, 11, 4, 9, 8])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def stream(store) -> SliceStream:
    return open_stream(store, store.entries[:4], seed=2)


@pytest.fixture
def calibration(store) -> SliceStream:
    return open_stream(store, store.entries[4:])


def steps(kind=Steps, seed=0):
    return kind(IntensityBaselineSpec(), seed)


def kill_at(total):
    """A progress callback that stops the fit after so many slices."""
    count = 0

    def progress(done: int, n: int) -> None:
        nonlocal count
        count += 1
        if count == total:
            raise Killed

    return progress


def test_a_shared_read_fits_as_separate_reads_do(stream, calibration):
    together = [spec.build(3) for spec in SPECS] + [steps(), steps(OtherSteps), steps(seed=1)]
    fit(together, stream, calibration)
    alone = [spec.build(3) for spec in SPECS] + [steps(), steps(OtherSteps), steps(seed=1)]
    # Bits, here and below: a resumed fit shares the read with other detectors than the killed one did.
    for one, other in zip(alone, together, strict=True):
        fit([one], stream, calibration)
        assert one.state().keys() == other.state().keys()
        for name, value in one.state().items():
            assert torch.equal(value, other.state()[name]), (one.spec.kind, name)


def test_batches_have_the_size_that_was_asked_for(stream, calibration):
    detector = steps()
    fit([detector], stream, calibration)
    assert detector.seen == ([6] * 5 + [1]) * 5
    assert len(detector.losses) == 5
    batches = torch.cat([batch.patches for _, batch in calibration.in_order(3)])
    expected = float((batches - detector.mean).square().mean())
    assert detector.losses[-1] == pytest.approx(expected, rel=1e-6)
    fit([detector], stream)
    assert detector.losses == [None] * 5


def test_a_detector_may_stop_early(stream):
    detector = steps()
    detector.best = 2
    fit([detector, other := steps(OtherSteps)], stream)
    assert (len(detector.losses), len(other.losses)) == (2, 3)


def test_progress_counts_the_slices_of_all_epochs(stream):
    said = []
    fit([steps(OtherSteps)], stream, progress=lambda done, n: said.append((done, n)))
    assert said[-1] == (93, 93)
    assert {(31, 93), (62, 93)} < set(said)
    assert sorted(set(said)) == said


@pytest.mark.parametrize("pieces", [1, 5, 9, 14, 18])
def test_a_killed_fit_ends_at_the_same_model(stream, calibration, folder, pieces):
    def detectors():
        return [steps(), steps(OtherSteps, 4), *[spec.build(0) for spec in SPECS[:3]]]

    whole = detectors()
    fit(whole, stream, calibration)
    with pytest.raises(Killed):
        fit(detectors(), stream, calibration, folder, kill_at(pieces))
    resumed = detectors()
    fit(resumed, stream, calibration, folder)
    for one, other in zip(whole, resumed, strict=True):
        for name, value in one.state().items():
            assert torch.equal(value, other.state()[name])
    assert len(resumed[0].losses) == 5 - (pieces - 1) // 4  # epochs of four pieces


def test_a_kill_between_two_checkpoints(stream, folder):
    whole = [steps(), steps(OtherSteps, 1)]
    fit(whole, stream)
    dying = [steps(), steps(OtherSteps, 1)]
    dying[1].state = lambda: (_ for _ in ()).throw(Killed)
    with pytest.raises(Killed):
        fit(dying, stream, folder=folder)
    resumed = [steps(), steps(OtherSteps, 1)]
    fit(resumed, stream, folder=folder)
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one.mean, other.mean)


def test_a_complete_fit_is_not_read_again(stream, folder):
    first = [spec.build(0) for spec in SPECS]
    fit(first, stream, folder=folder)
    again = [spec.build(0) for spec in SPECS]
    fit(again, stream, folder=folder, progress=kill_at(1))
    for one, other in zip(first, again, strict=True):
        for name, value in one.state().items():
            assert torch.equal(value, other.state()[name])
    assert len(list(folder.iterdir())) == len(SPECS)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("what", ["slices", "seed of the stream", "calibration", "torn", "empty"])
def test_another_fits_checkpoint_is_left_alone(store, stream, calibration, folder, caplog, what):
    fit([steps()], stream, calibration, folder)
    (path,) = folder.iterdir()
    if what == "torn":
        path.write_bytes(path.read_bytes()[:-3])
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "slices":
        stream = open_stream(store, store.entries[:3], seed=2)
    elif what == "calibration":
        calibration = None
    else:
        stream = open_stream(store, store.entries[:4], seed=9)
    expected = steps()
    fit([expected], stream, calibration)
    detector = steps()
    with caplog.at_level(logging.WARNING, logger="slicecache"):
        fit([detector], stream, calibration, folder)
    assert "the fit starts anew" in caplog.text
    assert ("cannot be read" if what in ("torn", "empty") else "is of another fit") in caplog.text
    assert len(detector.losses) == 5
    assert torch.equal(detector.mean, expected.mean)


def test_another_spec_or_seed_has_a_checkpoint_of_its_own(stream, folder):
    for spec in (MemoryBankSpec(size=100), MemoryBankSpec(size=50)):
        for seed in (0, 1):
            fit([spec.build(seed)], stream, folder=folder)
    assert len(list(folder.iterdir())) == 4
