"""What a worker's process keeps from task to task of one run, such as a model and an opened store."""

import threading
from collections.abc import Callable
from typing import TypeVar

Kept = TypeVar("Kept")

_kept: dict[str, object] = {}
"""By run; one or none."""
_making = threading.Lock()


def kept(run: str, make: Callable[[], Kept]) -> Kept:
    """What `make` made when this process's first task of the run came; that of another run is let go."""
    with _making:
        if run not in _kept:
            _kept.clear()
            _kept[run] = make()
        return _kept[run]  # type: ignore[return-value]


def forget() -> None:
    """Let it go: workers of somebody else's scheduler live on."""
    with _making:
        _kept.clear()
