"""What a run folder says of where its numbers come from: versions, and the input with absolute paths."""

import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from cache_schema.common.pipeline_file import Pipeline


def absolute_input(pipeline: Pipeline) -> dict[str, Any]:
    """The input of stage one with its root or manifest made absolute."""
    given = dict(pipeline.data["extract"].get("input") or {})
    return {
        key: str(pipeline.path(value)) if key in ("bids", "manifest") else value
        for key, value in given.items()
    }


def versions() -> dict[str, str]:
    """What computed the results."""
    return {
        "slicecache": version("slicecache"),
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
