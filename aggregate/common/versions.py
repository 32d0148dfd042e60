"""What computed a result."""

import sys
from importlib.metadata import version

import numpy as np
import torch

from cache_schema.format.header import Header


def versions() -> dict[str, str]:
    """Versions of everything that the numbers depend on."""
    return {
        "slicecache": version("slicecache"),
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def extraction_libraries(header: Header) -> dict[str, str]:
    """Distributions that computed a store's embeddings, by name; those that were not there are left out."""
    found = header.created.get("libraries")
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(name): str(version) for name, version in pairs if version is not None}
