"""How far something is, on standard error: a bar on a terminal, a line now and then or nothing elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self

LINE_SECONDS = 30.0
QUIET_SECONDS = 1.0
"""What takes less shows no bar."""
_shown: list[Any] = []
"""The bar that is open on a terminal, if one is."""

Progress = Callable[[int, int], None]
"""Takes how many are done, of how many."""


class VolumeCounter(Protocol):
    """What an extraction tells."""

    def done(self, slices: int) -> None:
        """One volume is committed."""

    def failed(self) -> None:
        """One volume could not be used."""


class ProgressCount:
    """Counts volumes, and tells nobody."""

    def __init__(self, total: int) -> None:
        """Count up to `total` volumes."""
        self.total, self.volumes, self.slices, self.failures = total, 0, 0, 0
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        return None

    def done(self, slices: int) -> None:
        """One volume is committed."""
        self.volumes += 1
        self.slices += slices
        self.counted()

    def failed(self) -> None:
        """One volume could not be used."""
        self.volumes += 1
        self.failures += 1
        self.counted()

    def counted(self) -> None:
        """Tell, where somebody listens."""

    @property
    def seconds(self) -> float:
        """Since the count began."""
        return max(time.monotonic() - self._start, 1e-9)


class ProgressLines(ProgressCount):
    """One line every half minute, for logs."""

    def __init__(self, total: int) -> None:
        """Count up to `total` volumes."""
        super().__init__(total)
        self._told = self._start

    def __exit__(self, *ending: object) -> None:
        if self.volumes:
            self.tell()

    def counted(self) -> None:
        """Print the line, if it is time."""
        if time.monotonic() - self._told >= LINE_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Print the line."""
        self._told = time.monotonic()
        left = self.seconds / max(self.volumes, 1) * (self.total - self.volumes)
        print(
            f"{self.volumes}/{self.total} volumes, {self.failures} failed, "
            f"{self.slices / self.seconds:.1f} slices/s, {clock(left)} left",
            file=sys.stderr,
            flush=True,
        )


class ProgressBar(ProgressCount):
    """A bar with volumes, slices per second and the time left."""

    def __init__(self, total: int) -> None:
        """Count up to `total` volumes."""
        super().__init__(total)
        told = "volumes · {task.fields[speed]:.1f} slices/s · {task.fields[failures]} failed ·"
        self._bar = _rich_bar(told)
        self._task = self._bar.add_task("extract", total=total, speed=0.0, failures=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *ending: object) -> None:
        self._bar.stop()

    def counted(self) -> None:
        """Move the bar."""
        self._bar.update(self._task, advance=1, speed=self.slices / self.seconds, failures=self.failures)


def progress_for(total: int, wanted: bool) -> ProgressCount:
    """What an extraction tells: a bar on a terminal, lines elsewhere, nothing when not wanted."""
    if not wanted:
        return ProgressCount(total)
    return ProgressBar(total) if sys.stderr.isatty() else ProgressLines(total)


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """Yield a callback that takes (done, total): a bar on a terminal, elsewhere a line every half minute.

    What takes less than a second shows nothing; a bar within another is a line below it.
    """
    outer = _shown[0] if _shown else None
    # An open bar stands in front of standard error, and not every rich tells what is behind.
    if outer is None and not sys.stderr.isatty():
        yield Lines(title)
        return
    progress = _rich_bar(transient=True) if outer is None else outer
    task = progress.add_task(title, total=None, visible=outer is None)

    def show() -> None:
        progress.update(task, visible=True)
        progress.start()

    timer = threading.Timer(QUIET_SECONDS, show)
    timer.start()
    if outer is None:
        _shown.append(progress)
    try:
        yield lambda done, total: progress.update(task, completed=done, total=total)
    finally:
        timer.cancel()
        timer.join()
        if outer is None:
            progress.stop()
            _shown.clear()
        else:
            progress.remove_task(task)


@contextmanager
def counting(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar that counts calls."""
    done = 0
    with bar(title) as progress:

        def one() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        yield one


class Lines:
    """A line with the time left now and then, for logs: what is done sooner leaves none."""

    def __init__(self, title: str, now: Callable[[], float] = time.monotonic) -> None:
        """Count from now on."""
        self._title, self._now, self._total, self._told = title, now, -1, now()
        self._base = (0, self._told)
        """How many were done when; what was there before this began says nothing of how fast it goes."""

    def __call__(self, done: int, total: int) -> None:
        """Print a line, if it is time."""
        now = self._now()
        if total != self._total or done < self._base[0]:
            first = self._total < 0 and done <= 1
            self._total, self._base = total, (0, self._base[1]) if first else (done, now)
        if now - self._told < LINE_SECONDS:
            return
        self._told = now
        before, since = self._base
        left = "" if done <= before else f", {clock((now - since) / (done - before) * (total - done))} left"
        print(f"{self._title}: {done} of {total}{left}", file=sys.stderr, flush=True)


def _rich_bar(told: str = "·", **options: Any) -> Any:
    """A title, the bar, how many of how many, what else is told, and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    left = (TimeRemainingColumn(), TextColumn("left"))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(told), *left)
    return RichProgress(*columns, console=Console(stderr=True), **options)


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
