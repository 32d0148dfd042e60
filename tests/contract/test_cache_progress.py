"""Progress is told on standard error, with the time left, and costs no rich where nobody watches."""

import io
import sys

import pytest

from cache_schema.common.terminal.progress import (
    LINE_SECONDS,
    ProgressCount,
    ProgressLines,
    bar,
    clock,
    progress_for,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_say_volumes_failures_and_the_time_left(capsys, monkeypatch):
    now = {"s": 100.0}
    monkeypatch.setattr("cache_schema.common.terminal.progress.time.monotonic", lambda: now["s"])
    with progress_for(10, wanted=True) as shown:
        assert isinstance(shown, ProgressLines)
        shown.done(40)
        assert capsys.readouterr().err == ""
        now["s"] += LINE_SECONDS + 10
        shown.failed()
        assert capsys.readouterr().err == "2/10 volumes, 1 failed, 1.0 slices/s, 2:40 left\n"


def test_nothing_is_told_when_not_wanted(capsys):
    with progress_for(1, wanted=False) as shown:
        shown.done(3)
    assert (type(shown), shown.slices) == (ProgressCount, 3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["extraction", "bar"])
def test_a_terminal_sees_how_many_of_how_many_and_the_time_left(monkeypatch, kind):
    monkeypatch.setattr(sys, "stderr", Terminal())
    if kind == "bar":
        with bar("heads") as tell:
            tell(3, 7)
        assert "heads" in sys.stderr.getvalue()
    else:
        with progress_for(7, wanted=True) as shown:
            for _ in range(3):
                shown.done(5)
        assert "slices/s" in sys.stderr.getvalue()
    assert "3/7" in sys.stderr.getvalue()
    assert "left" in sys.stderr.getvalue()


def test_a_bar_that_nobody_watches_is_none():
    with bar("heads") as tell:
        assert tell is None


@pytest.mark.parametrize(("seconds", "said"), [(59.6, "1:00"), (3723, "1:02:03"), (0, "0:00")])
def test_clock(seconds, said):
    assert clock(seconds) == said
