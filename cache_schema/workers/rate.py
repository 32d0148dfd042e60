"""How fast a worker is just now, from a few looks at how much it has done."""

from collections import deque
from datetime import datetime

MINUTE = 60.0
STEPS = 3
"""Where a volume takes longer than a minute, as many volumes are looked back at least."""
KEPT = 64


class Rate:
    """Slices per second over the last minute, or over the last few steps where these took longer."""

    def __init__(self, start: datetime) -> None:
        """Nothing is done at the start."""
        self._looks: deque[tuple[datetime, int]] = deque([(start, 0)], maxlen=KEPT)

    def at(self, now: datetime, slices: int) -> float:
        """The rate, given how many slices are done by now; 0 while there are none."""
        base, done = self._base(now)
        if slices != self._looks[-1][1]:
            self._looks.append((now, slices))
        seconds = (now - base).total_seconds()
        return max(0.0, (slices - done) / seconds) if seconds > 0 else 0.0

    def _base(self, now: datetime) -> tuple[datetime, int]:
        """The look to count from: the last one before this minute, and at least some steps back."""
        old = [place for place, (when, _) in enumerate(self._looks) if (now - when).total_seconds() >= MINUTE]
        place = min(old[-1] if old else 0, max(0, len(self._looks) - STEPS))
        return self._looks[place]
