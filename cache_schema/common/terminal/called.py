"""How this process was asked for what it does: by our command, or by a program of somebody's own.

What stands on the command line of a notebook's kernel is nobody's business and makes nothing again.
"""

import shlex
import sys
from pathlib import PurePath

NAME = "slicecache"


def asked_by(verb: str) -> list[str]:
    """The words of the command line, `["slicecache", "train", "pipeline.yaml"]`, or one that says Python.

    Args:
        verb: What it is called in Python, e.g. `train`.
    """
    # A process that another one spawned has the command line of that one.
    ours = bool(sys.argv) and PurePath(sys.argv[0]).stem == NAME
    return [NAME, *sys.argv[1:]] if ours else [f"sc.{verb}(...), called from Python"]


def told_command(verb: str) -> str:
    """`asked_by` as one line of text, quoted as a shell reads it."""
    words = asked_by(verb)
    return words[0] if len(words) == 1 and words[0] != NAME else shlex.join(words)
