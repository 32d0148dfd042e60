"""How this process was asked for what it does: by our command, or by a program of somebody's own.

What stands on the command line of a notebook's kernel is nobody's business and makes nothing again.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

NAME = "slicecache"

_commands: list[list[str]] = []
"""Words of the commands that run here, the innermost last."""


@contextmanager
def as_command(words: Sequence[str]) -> Iterator[None]:
    """While it lasts, what is done is done for a command line.

    Args:
        words: Behind the command's own name.
    """
    _commands.append([NAME, *words])
    try:
        yield
    finally:
        _commands.pop()


def asked_by(verb: str) -> list[str]:
    """The words of the command line, `["slicecache", "train", "pipeline.yaml"]`, or one that says Python.

    Args:
        verb: What it is called in Python, e.g. `train`.
    """
    if _commands:
        return list(_commands[-1])
    # A process that a command spawned has run no command itself, but has its command line.
    ours = bool(sys.argv) and PurePath(sys.argv[0]).stem == NAME
    return [NAME, *sys.argv[1:]] if ours else [f"sc.{verb}(...), called from Python"]


def told_command(verb: str) -> str:
    """`asked_by` as one line of text, quoted as a shell reads it."""
    words = asked_by(verb)
    return shlex.join(words) if words[0] == NAME else words[0]
