"""Progress is told on standard error, with the time left, and costs no rich where nobody watches."""

import io
import sys
import time

import pytest

from cache_schema.common.terminal.progress import (
    LINE_SECONDS,
    Lines,
    ProgressCount,
    ProgressLines,
    bar,
    clock,
    counting,
    progress_for,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def wait_for(text):
    """Until it is shown: bars are drawn by a thread of their own."""
    end = time.monotonic() + 30
    while text not in sys.stderr.getvalue():
        assert time.monotonic() < end, f"{text!r} is not in {sys.stderr.getvalue()[-200:]!r}"
        time.sleep(0.01)


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
        monkeypatch.setattr("cache_schema.common.terminal.progress.QUIET_SECONDS", 0.0)
        with bar("heads") as tell:
            tell(3, 7)
            wait_for("3/7")
        assert "heads" in sys.stderr.getvalue()
    else:
        with progress_for(7, wanted=True) as shown:
            for _ in range(3):
                shown.done(5)
        assert "slices/s" in sys.stderr.getvalue()
    assert "3/7" in sys.stderr.getvalue()
    assert "left" in sys.stderr.getvalue()


def test_what_is_soon_done_shows_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with bar("heads") as tell:
        tell(3, 7)
        with bar("inner") as inner:
            inner(1, 2)
    assert sys.stderr.getvalue() == ""


def test_a_bar_within_another_is_a_line_below_it(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("cache_schema.common.terminal.progress.QUIET_SECONDS", 0.0)
    with bar("heads") as tell:
        tell(3, 7)
        with bar("inner") as inner:
            inner(1, 2)
            wait_for("1/2")
        seen = len(sys.stderr.getvalue())
        tell(5, 7)
        wait_for("5/7")
        assert "inner" not in sys.stderr.getvalue()[seen:].rpartition("5/7")[2]
    with bar("own") as tell:
        tell(1, 9)
        wait_for("1/9")


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    now = {"s": 100.0}
    tell = Lines("scoring", lambda: now["s"])

    def at(seconds, done, total):
        now["s"] = 100.0 + seconds
        tell(done, total)
        return capsys.readouterr().err

    assert at(1, 1, 100) == ""
    assert at(LINE_SECONDS - 1, 29, 100) == ""
    assert at(40, 40, 100) == "scoring: 40 of 100, 1:00 left\n"
    assert at(60, 60, 100) == ""
    # Another epoch begins: its own pace is what counts.
    assert at(90, 0, 50) == "scoring: 0 of 50\n"
    assert at(120, 10, 50) == "scoring: 10 of 50, 2:00 left\n"


def test_what_was_done_before_says_nothing_of_the_pace(capsys):
    now = {"s": 0.0}
    tell = Lines("runs", lambda: now["s"])
    for seconds, done in [(0.0, 90), (50.0, 95)]:
        now["s"] = seconds
        tell(done, 100)
    assert capsys.readouterr().err == "runs: 95 of 100, 0:50 left\n"


def test_lines_are_what_a_bar_is_in_a_log(capsys):
    with bar("heads") as tell:
        assert isinstance(tell, Lines)
        with counting("inner", 2) as count:
            count()
    with counting("own", 2) as count:
        count()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "said"), [(59.6, "1:00"), (3723, "1:02:03"), (0, "0:00")])
def test_clock(seconds, said):
    assert clock(seconds) == said
