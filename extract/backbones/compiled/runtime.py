"""OpenVINO, imported so that it tells nobody.

Its wheel brings `openvino_telemetry`, and with that in place a mere `import openvino` opens an analytics
session and writes an identifier into the home folder. The package falls back to a stub where that module
cannot be imported, so it cannot be imported here. Networks are read by the frontend itself; the converter,
which reports every conversion, is never called.
"""

import functools
import importlib.util
import sys
from typing import Any

TELEMETRY = "openvino_telemetry"
PACKAGE = "openvino"


def installed() -> bool:
    """Whether the extra is here; imports nothing."""
    return importlib.util.find_spec(PACKAGE) is not None


def silent_openvino() -> Any:
    """The package, without its telemetry.

    Raises:
        ImportError: If it is not installed, or its libraries do not load.
    """
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]
    import openvino

    return openvino


@functools.cache
def runtime_core() -> Any:
    """The runtime; one in a process."""
    return silent_openvino().Core()


def capabilities() -> tuple[str, ...]:
    """What the runtime finds that the CPU has, e.g. `BF16`, under whatever limits the environment sets."""
    return tuple(sorted(runtime_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
