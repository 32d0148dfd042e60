"""How far an extraction is, on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self

LINE_SECONDS = 30.0


class Progress(Protocol):
    """What the engine tells."""

    def done(self, slices: int) -> None:
        """One volume is committed."""

    def failed(self) -> None:
        """One volume could not be used."""


class Silent:
    """Tells nobody."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        return None

    def done(self, slices: int) -> None:
        """One volume is committed."""

    def failed(self) -> None:
        """One volume could not be used."""


class Lines:
    """One line every half minute, for logs."""

    def __init__(self, total: int) -> None:
        """Count up to `total` volumes."""
        self.total, self.volumes, self.slices, self.failures = total, 0, 0, 0
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        if self.volumes:
            self.tell()

    def done(self, slices: int) -> None:
        """One volume is committed."""
        self.slices += slices
        self._count()

    def failed(self) -> None:
        """One volume could not be used."""
        self.failures += 1
        self._count()

    def _count(self) -> None:
        self.volumes += 1
        if time.monotonic() - self._last >= LINE_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Print the line."""
        self._last = time.monotonic()
        seconds = max(self._last - self._start, 1e-9)
        left = seconds / max(self.volumes, 1) * (self.total - self.volumes)
        print(
            f"{self.volumes}/{self.total} volumes, {self.failures} failed, "
            f"{self.slices / seconds:.1f} slices/s, {clock(left)} left",
            file=sys.stderr,
            flush=True,
        )


class Bar:
    """A bar with volumes, slices per second and the time left."""

    def __init__(self, total: int) -> None:
        """Count up to `total` volumes."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("extract"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("volumes · {task.fields[speed]:.1f} slices/s · {task.fields[failures]} failed ·"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("extract", total=total, speed=0.0, failures=0)
        self._start, self._slices, self._failures = time.monotonic(), 0, 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def done(self, slices: int) -> None:
        """One volume is committed."""
        self._slices += slices
        speed = self._slices / max(time.monotonic() - self._start, 1e-9)
        self._bar.update(self._task, advance=1, speed=speed)

    def failed(self) -> None:
        """One volume could not be used."""
        self._failures += 1
        self._bar.update(self._task, advance=1, failures=self._failures)


def progress_for(total: int, wanted: bool) -> Bar | Lines | Silent:
    """A bar on a terminal, lines elsewhere, nothing when not wanted."""
    if not wanted:
        return Silent()
    return Bar(total) if sys.stderr.isatty() else Lines(total)


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
