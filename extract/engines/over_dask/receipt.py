"""What a worker answers: so little that neither it nor the scheduler minds a hundred thousand of them."""

from dataclasses import dataclass

MOST_BYTES = 600
"""Of a reason; a receipt stays below one kilobyte."""
CUT = " ..."


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of one volume."""

    slices: int
    """Committed; 0 of a volume that failed."""
    seconds: float
    """From its slice images to its commit."""
    host: str
    reason: str = ""
    """Why it failed, in one sentence."""
    withdrawn: bool = False
    """Its participant was withdrawn from the store since it was planned."""


def cut(reason: str) -> str:
    """A reason that fits a receipt."""
    encoded = reason.encode()
    if len(encoded) <= MOST_BYTES:
        return reason
    return encoded[: MOST_BYTES - len(CUT)].decode(errors="ignore") + CUT
