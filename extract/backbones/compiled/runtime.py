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

import numpy as np

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
    """The runtime; one in a process, and used once by whoever asks first."""
    core = silent_openvino().Core()
    _pass_alone(core)
    return core


def _pass_alone(core: Any) -> None:
    """One inference of one number, before two threads can make the first at a time.

    The binding asks for numpy's own types when it first needs them, behind a guard of C++ and with the
    interpreter's lock let go in between. Of two threads that come first together, one then holds the guard
    and waits for the lock, and the other holds the lock and waits for the guard: for ever (openvino 2026.4;
    seen in an extraction of two passes at a time, and in 1 of 10 processes that provoke it).
    """
    from openvino import Model
    from openvino.opset13 import parameter, relu, result

    number = parameter([1], np.float32)
    graph = core.compile_model(Model([result(relu(number))], [number]), "CPU")
    graph.create_infer_request().infer([np.zeros(1, dtype=np.float32)], share_inputs=True)[0]


def capabilities() -> tuple[str, ...]:
    """What the runtime finds that the CPU has, e.g. `BF16`, under whatever limits the environment sets."""
    return tuple(sorted(runtime_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
