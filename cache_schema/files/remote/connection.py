"""A connection to a place behind a URL: how long is waited, how often repeated, what the environment says."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from cache_schema.common.errors import ConfigError
from cache_schema.files.remote.faults import told

SECONDS = 30.0
"""Without a byte for so long, a request has failed; SLICECACHE_REMOTE_SECONDS says otherwise."""
CONNECT_SECONDS = 5.0
WHOLE_SECONDS = 3600.0
"""For one answer in all, however steadily it comes."""
RETRIES = 5
"""How often a request is repeated; SLICECACHE_REMOTE_RETRIES says otherwise."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=0.2), timedelta(seconds=10)
RETRY_SECONDS = 120.0
"""No repetition after so long."""
_USED_BY: list[int] = []
"""The process that used obstore first, also as one forked off it remembers."""


def require_own_process() -> None:
    """Refuse to go on behind a fork, where obstore waits for threads that are not there, for ever.

    Raises:
        ConfigError: If obstore was used before this process was forked.
    """
    if not _USED_BY:
        _USED_BY.append(os.getpid())
    if _USED_BY[0] != os.getpid():
        raise ConfigError(
            "a store behind a URL cannot be read in a process that was forked after one was opened; start "
            "workers by spawn (DataLoader(..., multiprocessing_context='spawn'))"
        )


def request_errors() -> tuple[type[Exception], ...]:
    """What obstore raises."""
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError, NotImplementedError


def connect(url: str, retries: int | None = None) -> Any:
    """Obstore's store over a URL, configured by the environment.

    Args:
        url: Of the place.
        retries: How often a request is repeated; None: as the environment says.

    Raises:
        ConfigError: If a variable of ours is no number.
        StoreError: If obstore makes nothing of the URL or of the environment.
    """
    from obstore.store import from_url

    require_own_process()
    seconds = _number("SLICECACHE_REMOTE_SECONDS", SECONDS)
    client: Any = {
        "connect_timeout": timedelta(seconds=min(seconds, CONNECT_SECONDS)),
        "read_timeout": timedelta(seconds=seconds),
        "timeout": timedelta(seconds=WHOLE_SECONDS),
    }
    # Options given here hide the environment's own.
    if url.startswith("http://") or os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"):
        client["allow_http"] = True
    retry: Any = {
        "max_retries": most_retries() if retries is None else retries,
        "retry_timeout": timedelta(seconds=RETRY_SECONDS),
        "backoff": {"init_backoff": FIRST_PAUSE, "max_backoff": LONGEST_PAUSE, "base": 2},
    }
    try:
        return from_url(url, client_options=client, retry_config=retry)
    except request_errors() as error:
        raise told(error, url) from error


def most_retries() -> int:
    """How often a request is repeated.

    Raises:
        ConfigError: If the environment's number is none.
    """
    return int(_number("SLICECACHE_REMOTE_RETRIES", RETRIES))


def pauses() -> Iterator[float]:
    """Seconds before each repetition of what is not left to obstore."""
    for attempt in range(most_retries()):
        yield min((FIRST_PAUSE * 2**attempt).total_seconds(), LONGEST_PAUSE.total_seconds())


def _number(variable: str, default: float) -> float:
    """A number of the environment.

    Raises:
        ConfigError: If it is none.
    """
    given = os.environ.get(variable, "")
    try:
        number = float(given or default)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigError(f"the environment's {variable} must be a number from 0 on, not {given!r}")
    return number
