"""`requirements.lock`: every installed distribution that this process has imported, with its version."""

import sys
from functools import cache
from importlib.metadata import packages_distributions, version


def lock_text() -> str:
    """`name==version` by name; the Python in a comment."""
    known = _distributions()
    tops = {name.partition(".")[0] for name in sys.modules}
    names = {"slicecache", *(distribution for top in tops for distribution in known.get(top, ()))}
    lines = sorted({f"{name}=={version(name)}" for name in names}, key=str.lower)
    return "\n".join([f"# Python {sys.version.split()[0]}, {sys.platform}", *lines, ""])


@cache
def _distributions() -> dict[str, tuple[str, ...]]:
    """Top-level module -> distributions that bring it."""
    return {name: tuple(found) for name, found in packages_distributions().items()}
