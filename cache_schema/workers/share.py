"""Which share of its time a device waits for images, and when that is too much."""

MUCH = 0.2
"""Beyond this share it waits too long."""
ENOUGH_SECONDS = 60.0
"""Of less time nothing is concluded."""


def share_of(waiting_seconds: float, busy_seconds: float) -> float | None:
    """Which share of its time a device waited; None before any has passed."""
    whole = waiting_seconds + busy_seconds
    return waiting_seconds / whole if whole > 0 else None


def waits_too_long(waiting_seconds: float, busy_seconds: float) -> bool:
    """Whether more cores would let it work more."""
    share = share_of(waiting_seconds, busy_seconds)
    return share is not None and share > MUCH and waiting_seconds + busy_seconds >= ENOUGH_SECONDS
