"""A few tasks ahead of the workers and no more, so that the scheduler's memory does not grow with the cohort.

A future is let go as soon as it has ended. A worker that dies costs nothing but time: dask gives its tasks to
others. Where a task's workers die again and again, dask gives the task up, and with it those that happened to
run beside it: the suspects run again at the end, one at a time, and only who is alone then is to blame.
"""

import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from cache_schema.common.errors import MachineError

LISTEN_SECONDS = 1.0
"""How often the wait for a task is interrupted, to see whether anybody still works."""

Outcome = tuple[Any, Any | BaseException]
"""What was asked for, and what came of it: the function's result, or the error that it ended with."""


def outcomes(
    client: Any,
    function: Callable[..., Any],
    given: Iterable[Any],
    name: Callable[[Any], str],
    width: Callable[[], int],
    idle: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """Run `function(each)` on the workers for each of `given`, and yield what came of them as they end.

    Args:
        client: dask's, connected.
        function: Importable on the workers; its results are small.
        given: In the order in which they begin.
        name: The task's key; no two tasks of a scheduler may have one.
        width: Tasks that may be under way, asked again and again.
        idle: Called while nothing ends.

    Raises:
        MachineError: If the scheduler is gone.
    """
    suspects: list[Any] = []
    for each, came in _pass(client, function, given, name, width, idle):
        if is_killed(came):
            suspects.append(each)
        else:
            yield each, came
    yield from _pass(client, function, suspects, lambda each: f"{name(each)}-alone", lambda: 1, idle)


def _pass(
    client: Any,
    function: Callable[..., Any],
    given: Iterable[Any],
    name: Callable[[Any], str],
    width: Callable[[], int],
    idle: Callable[[], None],
) -> Iterator[Outcome]:
    waiting, ended = iter(given), queue.SimpleQueue[Any]()
    flying: dict[str, tuple[Any, Any]] = {}
    try:
        while True:
            require_scheduler(client)
            with answering(client):
                room = max(0, width() - len(flying))
            for each in islice(waiting, room):
                future = client.submit(function, each, key=name(each), pure=False)
                flying[future.key] = each, future
                future.add_done_callback(ended.put)
            if not flying:
                return
            heard = list(_heard(ended))
            for future in heard:
                each, _ = flying.pop(future.key)
                came = result_of(future, client)
                future.release()
                yield each, came
            if not heard:
                with answering(client):
                    idle()
    finally:
        for _, future in flying.values():
            future.release()


def _heard(ended: "queue.SimpleQueue[Any]") -> Iterator[Any]:
    """What has ended, after waiting for it a moment."""
    try:
        yield ended.get(timeout=LISTEN_SECONDS)
        while True:
            yield ended.get_nowait()
    except queue.Empty:
        return


def result_of(future: Any, client: Any) -> Any | BaseException:
    """The result or the error of a task that has ended.

    Raises:
        MachineError: If it ended because the scheduler is gone.
    """
    if future.status == "error":
        return future.exception()
    with answering(client):
        return future.result()


@contextmanager
def answering(client: Any) -> Iterator[None]:
    """Asking the scheduler something, which may be gone by then.

    Raises:
        MachineError: If it is.
    """
    from dask.distributed import CancelledError

    try:
        yield
    except (CancelledError, OSError) as error:
        raise gone(client) from error


def require_scheduler(client: Any) -> None:
    """Refuse to wait for a scheduler that is gone.

    Raises:
        MachineError: If it is.
    """
    if client.status != "running":
        raise gone(client)


def gone(client: Any) -> MachineError:
    """The scheduler does not answer any more."""
    return MachineError(f"the dask scheduler at {address_of(client)!r} went away")


def address_of(client: Any) -> str:
    """Where the scheduler is, or was."""
    return str(client.scheduler.address if client.scheduler is not None else client._start_arg)


def is_killed(came: Any) -> bool:
    """Whether dask gave a task up because its workers died."""
    from dask.distributed import KilledWorker

    return isinstance(came, KilledWorker)
