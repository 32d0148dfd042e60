"""What computed a result."""

import sys
from importlib.metadata import version

import numpy as np
import torch


def versions() -> dict[str, str]:
    """Versions of everything that the numbers depend on."""
    return {
        "slicecache": version("slicecache"),
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
