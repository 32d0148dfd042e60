"""How long the device waits for images: counted on a clock that is turned by hand."""

from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import torch

from extract.engines.embed import Embedder
from extract.engines.waiting import Stopwatch, said_of_waiting


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(watch: Stopwatch, clock: Clock, decode: float, embed: float, n: int, idle=lambda waited: waited):
    def images():
        for number in range(n):
            clock.now += decode
            yield number

    seen = []
    for image in watch.over(images, idle):
        clock.now += embed
        seen.append(image)
    watch.stop()
    assert seen == list(range(n))


def test_the_first_image_is_no_waiting_and_every_other_is():
    clock = Clock()
    watch = Stopwatch(clock)
    assert (watch.busy_seconds, watch.waiting_seconds) == (0, 0)
    run(watch, clock, decode=2.0, embed=3.0, n=5)
    clock.now += 100  # what comes behind is not its business
    assert (watch.waiting_seconds, watch.busy_seconds) == (8.0, 15.0)


def test_what_the_device_does_meanwhile_is_work():
    clock = Clock()
    watch = Stopwatch(clock)
    run(watch, clock, decode=2.0, embed=3.0, n=5, idle=lambda waited: waited - 1.5)
    assert (watch.waiting_seconds, watch.busy_seconds) == (2.0, 21.0)


def test_a_wait_that_goes_on_is_seen():
    """A decoder that hangs must not pass for a busy device."""
    clock = Clock()
    watch = Stopwatch(clock)
    seen = []

    def images():
        yield 0
        clock.now += 50
        seen.append((watch.waiting_seconds, watch.busy_seconds))
        yield 1

    for _ in watch.over(images, lambda waited: waited):
        clock.now += 1
    assert seen == [(50.0, 1.0)]


def test_no_image_is_no_time():
    watch = Stopwatch()
    run(watch, Clock(), 1, 1, 0)
    assert (watch.waiting_seconds, watch.busy_seconds) == (0, 0)
    assert said_of_waiting(0, 0, 3) == []


@pytest.mark.parametrize(
    ("waiting", "busy", "lines"), [(1.0, 99.0, 1), (21.0, 79.0, 2), (100.0, 0.0, 2), (9.0, 1.0, 1)]
)
def test_advice_is_for_who_waits_much_and_long_enough(waiting, busy, lines):
    found = said_of_waiting(waiting, busy, 4)
    assert len(found) == lines
    assert f"{waiting / (waiting + busy):.0%} of the time" in found[0]


def test_an_error_while_decoding_is_raised():
    watch = Stopwatch()

    def images():
        yield 0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(watch.over(images, lambda waited: waited))


class Passed:
    """Stands in for a CUDA event: a batch that was done so many milliseconds ago, or is not yet."""

    def __init__(self, ago: float | None = None, enable_timing: bool = True) -> None:
        self.ago = ago

    def query(self) -> bool:
        return self.ago is not None

    def elapsed_time(self, later: "Passed") -> float:
        return self.ago or 0.0

    def record(self) -> None: ...
    def synchronize(self) -> None: ...


@pytest.mark.parametrize(
    ("flight", "idle"),
    [
        (None, 7.0),  # nothing was sent: idle all the time
        (SimpleNamespace(done=None, ended=-7.0), 7.0),  # a CPU is done when it is sent
        (SimpleNamespace(done=None, ended=-2.0), 2.0),  # or by a thread that went on while it was waited
        (Future(), 0.0),  # which still does
        (SimpleNamespace(done=Passed()), 0.0),  # a GPU is still at work
        (SimpleNamespace(done=Passed(2500.0)), 2.5),
        (SimpleNamespace(done=Passed(99_000.0)), 7.0),
    ],
)
def test_a_device_is_idle_from_the_end_of_its_batch(monkeypatch, flight, idle):
    monkeypatch.setattr(torch.cuda, "Event", Passed)
    embedder = object.__new__(Embedder)
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    sent = flight
    if isinstance(flight, SimpleNamespace):
        sent = Future()
        sent.set_result(flight)
    embedder._flights = deque([] if flight is None else [([], sent)])
    assert embedder.idle(7.0) == idle
