"""The worker's side of what may be wrong with a worker: another program, and on which machine that was."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from cache_schema.common.errors import ConfigError, SlicecacheError

ALIKE = ("slicecache", "distributed")
"""Packages of one version on both sides; what the numbers need alike is in the store's numerics."""


def versions() -> dict[str, str | None]:
    """What is installed here of `ALIKE`."""
    return {name: library_version(name) for name in ALIKE}


def library_version(name: str) -> str | None:
    """Installed version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def require_alike(asked: dict[str, str | None], found: dict[str, str | None]) -> None:
    """Refuse a worker that would run another program than the one that asks.

    Raises:
        ConfigError: Naming what differs.
    """
    for name, wanted in asked.items():
        if found[name] != wanted:
            raise ConfigError(
                f"this worker has {name} {found[name]}, and the command that asks it {wanted}: install one "
                "version on both sides"
            )


@contextmanager
def naming_host() -> Iterator[None]:
    """Say of what is wrong with a worker on which machine that was."""
    try:
        yield
    except SlicecacheError as error:
        raise type(error)(f"on {socket.gethostname()}: {error}") from None
