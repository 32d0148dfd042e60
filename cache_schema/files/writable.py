"""Objects that a store is written to: a folder, or a bucket behind a URL."""

from contextlib import AbstractContextManager
from typing import Protocol

from cache_schema.files.objects import Objects, Stamp


class Writable(Objects, Protocol):
    """Byte objects by name that are written, and what a writer needs to know of them besides."""

    durable: bool
    """Whether what has returned waits for the disk; a bucket's server sees to that."""

    at_once: int
    """Volumes that are best written at a time, by threads, while each waits."""
    exclusive: bool
    """Whether `create` keeps everybody else out for certain; if not, what was created is looked at again."""

    def stamp(self, name: str) -> Stamp:
        """What is another after every put; None when there is no such object."""
        ...

    def keep(self, folder: str) -> None:
        """Wait until the names in a folder are as safe as what is written."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """Write and delete what a block does at once, in any order; all is done when the block ends."""
        ...

    def sweep(self) -> int:
        """Delete unfinished writes of processes that are gone; the number deleted."""
        ...
