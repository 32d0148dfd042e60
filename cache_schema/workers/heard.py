"""What is heard of workers, and the sweeping of those who are not heard of any more."""

import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import StoredJsonError, read_object
from cache_schema.common.strict import refusal
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import get_all
from cache_schema.format.heartbeat import Heartbeat
from cache_schema.format.layout import WORKERS
from cache_schema.format.limits import MAX_WORKERS, object_limit

OLD = timedelta(days=1)
LOOKED_AT = 100
"""Heartbeats that one worker looks at when it starts: some, at random, so that of a thousand tasks not each
reads a thousand. More go than come."""


def parse_heartbeat(data: bytes, name: str) -> Heartbeat:
    """A stored heartbeat, held against its name.

    Raises:
        StoreError: If it is none.
    """
    try:
        beat = Heartbeat.model_validate(read_object(data, object_limit(WORKERS)))
    except ValidationError as error:
        raise StoreError(refusal(error, f"heartbeat {name}")) from error
    except StoredJsonError as error:
        raise StoreError(f"heartbeat {name} cannot be read: {error}") from error
    if beat.name != name:
        raise StoreError(f"{name} is the heartbeat of another worker")
    return beat


def heard(objects: Objects, names: list[str] | None = None) -> Iterator[tuple[str, Heartbeat | None]]:
    """Heartbeats by name; None where one cannot be read, be it from a newer version.

    Args:
        objects: The store.
        names: Which; by default all, but not more than `MAX_WORKERS`.
    """
    wanted = objects.list(WORKERS)[:MAX_WORKERS] if names is None else names
    for name, data in get_all(objects, wanted, lenient=True):
        if data is not None:  # else it was swept just now
            beat = None
            with suppress(StoreError):
                beat = parse_heartbeat(data, name)
            yield name, beat


def sweep_old(objects: Objects, now: datetime | None = None) -> None:
    """Delete heartbeats of workers that were not heard of for a day, and torn ones, of some of them."""
    now = now or datetime.now(UTC)
    names = objects.list(WORKERS)
    for name, beat in heard(objects, random.sample(names, min(LOOKED_AT, len(names)))):
        if is_torn(objects, name) if beat is None else now - beat.beat > OLD:
            objects.delete(name)


def is_torn(objects: Objects, name: str) -> bool:
    """Whether a heartbeat is no JSON, as after a power failure: nobody waits for the disk with them."""
    try:
        read_object(objects.get(name) or b"", object_limit(WORKERS))
    except StoredJsonError:
        return True
    except StoreError:  # larger than any
        return False
    return False


def forget_workers(objects: Objects) -> None:
    """Delete all heartbeats: nobody is at work on a store that is complete."""
    for name in objects.list(WORKERS):
        objects.delete(name)
