"""niivue as `ipyniivue` ships it (BSD-2-Clause): the widget's file holds the whole library as one text.

The package is not imported, which would start a notebook's machinery: its file is read.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from cache_schema.common.errors import ConfigError

PACKAGE, KNOWN = "ipyniivue", "2.4.4"
WIDGET = "ipyniivue/static/widget.js"
LIBRARY = re.compile(r"\"([A-Za-z0-9\-_.!~*'()%]{1000000,})\"")
"""What its button 'save as a page' puts into the page: a module, as `encodeURIComponent` writes it."""
EXPORTS = re.compile(r"export\{[^{}]*\bNVImage\b[^{}]*\bNiivue\b[^{}]*\};?\s*$")


class ViewerSource(NamedTuple):
    """A viewer's program."""

    module: str
    """JavaScript that ends in exporting `Niivue` and `NVImage`."""
    licence: str
    version: str
    """Of the package."""


def viewer_source() -> ViewerSource:
    """The program of the viewer.

    Raises:
        ConfigError: If the package is not installed, or is of a version that holds no such text.
    """
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        raise ConfigError(
            f"--viewer needs {PACKAGE}, which is not installed: pip install 'slicecache[viewer]'"
        ) from None
    widget = Path(str(found.locate_file(WIDGET)))
    text = widget.read_text(encoding="utf-8") if widget.is_file() else ""
    modules = [module for module in map(unquote, LIBRARY.findall(text)) if EXPORTS.search(module)]
    if len(modules) != 1:
        raise ConfigError(
            f"--viewer takes niivue from {PACKAGE}, whose version {found.version} does not hold it as "
            f"{KNOWN} does: pip install '{PACKAGE}=={KNOWN}'"
        )
    licences = [Path(str(path.locate())) for path in found.files or () if path.name.startswith("LICENSE")]
    licence = "\n".join(path.read_text(encoding="utf-8") for path in licences)
    return ViewerSource(modules[0], licence, found.version)
