"""How long it will take, as far as anybody can know, and how that is said."""

LONGEST = 10 * 365 * 86400.0
"""Seconds; what takes longer than ten years is not said."""


def seconds_left(slices: float, per_second: float) -> float | None:
    """Seconds until so many slices are done; None where nobody can know."""
    if slices <= 0:
        return 0.0
    if per_second <= 0 or slices / LONGEST > per_second:
        return None
    return slices / per_second


def duration(seconds: float) -> str:
    """A time as people say it, not below a minute: `3 min`, `2 h 10 min`, `4 days 3 h`."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def ago(seconds: float) -> str:
    """A time that has passed: in seconds below two minutes."""
    return f"{round(seconds)} s" if seconds < 120 else duration(seconds)
