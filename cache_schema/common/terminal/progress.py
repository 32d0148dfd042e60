"""How far something is, on standard error: a bar on a terminal, a line now and then or nothing elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self

LINE_SECONDS = 30.0


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
        self._bar = _rich_bar("extract", told)
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
def bar(title: str) -> Iterator[Progress | None]:
    """Yield a callback that takes (done, total), or None when nobody is watching."""
    if not sys.stderr.isatty():
        yield None
        return
    with _rich_bar(title, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _rich_bar(title: str, told: str = "·", **options: Any) -> Any:
    """A title, the bar, how many of how many, what else is told, and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    left = (TimeRemainingColumn(), TextColumn("left"))
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn(told), *left)
    return RichProgress(*columns, console=Console(stderr=True), **options)


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
