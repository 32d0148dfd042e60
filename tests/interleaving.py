"""Threads that take turns at every operation on a store's objects, in an order that is given.

Nothing depends on the clock: a thread runs until just before its next operation and waits for its turn. So
an order of turns is an interleaving, and the same order gives the same one again.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from cache_schema.files.objects import LocalObjects

OPERATIONS = ("get", "put", "create", "list", "delete", "stamp", "opened")
PATIENCE = 60.0


class Turns:
    """Runs named actors, one operation at a time."""

    def __init__(self, actors: Mapping[str, Callable[[], Any]]) -> None:
        self.results: dict[str, Any] = {}
        """What each actor returned, or the exception that ended it."""
        self.trace = ""
        """Whose turn it was, a letter per operation: the first of the actor's name."""
        self._go = {name: threading.Semaphore(0) for name in actors}
        self._stopped = threading.Semaphore(0)
        self._threads = {
            threading.Thread(target=self._run, args=(name, act), daemon=True): name
            for name, act in actors.items()
        }
        self._names = {thread.ident: name for thread, name in self._threads.items()}

    def _run(self, name: str, act: Callable[[], Any]) -> None:
        self._go[name].acquire(timeout=PATIENCE)
        try:
            self.results[name] = act()
        except Exception as error:
            self.results[name] = error
        self._stopped.release()

    def before_operation(self) -> None:
        """Hand over, and wait for the next turn; other threads are none of our business."""
        name = self._names.get(threading.get_ident())
        if name is not None:
            self._stopped.release()
            assert self._go[name].acquire(timeout=PATIENCE)

    def play(self, choose: Callable[[list[str], int], str]) -> "Turns":
        """Give turns until all have ended; `choose` is told who waits and how many turns there were."""
        for thread in self._threads:
            thread.start()
            self._names[thread.ident] = self._threads[thread]
        while waiting := [name for name in self._go if name not in self.results]:
            name = choose(waiting, len(self.trace))
            self.trace += name[0]
            self._go[name].release()
            assert self._stopped.acquire(timeout=PATIENCE)
        return self


@contextmanager
def taking_turns(actors: Mapping[str, Callable[[], Any]]) -> Iterator[Turns]:
    """Actors that stop before each operation on local objects."""
    turns = Turns(actors)
    with pytest.MonkeyPatch.context() as patch:
        for operation in OPERATIONS:
            patch.setattr(LocalObjects, operation, _stopping(getattr(LocalObjects, operation), turns))
        yield turns


def _stopping(operation: Callable[..., Any], turns: Turns) -> Callable[..., Any]:
    def stopped(self: LocalObjects, *given: Any, **named: Any) -> Any:
        turns.before_operation()
        return operation(self, *given, **named)

    return stopped
