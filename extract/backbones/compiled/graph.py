"""From a placed torch network to a graph of one fixed shape, and that graph compiled for this CPU."""

import functools
import warnings
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from extract.backbones.backbone import Backbone, Tokens
from extract.backbones.compiled.runtime import runtime_core, silent_openvino

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""Compute dtype as OpenVINO calls it."""


MOST_STREAMS = 2
"""Passes at a time: two that share no product never wait for each other; each holds a batch in memory."""

_traced: weakref.WeakKeyDictionary[Backbone, tuple[tuple[int, ...], Any]] = weakref.WeakKeyDictionary()
"""The last graph of a network, for as long as that is there: both precisions are compiled from one."""


def flat(tokens: Tokens) -> dict[str, Tensor]:
    """Everything that a forward pass gave, by array name."""
    attended = {} if tokens.attention is None else {"cls_attention": tokens.attention}
    return {**tokens.cls, "patches": tokens.patches, **attended, **tokens.more}


class _Flat(nn.Module):
    """A backbone with a tuple for an answer, as tracing wants it."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.names = backbone, [""]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels `(slice, 3, height, width)` to the arrays, named on the way."""
        found = flat(self.backbone(pixels))
        self.names = list(found)
        return tuple(found.values())


def traced_graph(backbone: Backbone, shape: tuple[int, ...]) -> Any:
    """The graph of a network for pixels of one shape, its outputs named as arrays are.

    Args:
        backbone: In torch, float32, on the CPU; its weights become constants.
        shape: `(slice, 3, height, width)`.
    """
    made_for, graph = _traced.get(backbone, ((), None))
    if made_for != shape:
        graph = _trace(backbone, shape)
        _traced[backbone] = shape, graph
    return graph


def _trace(backbone: Backbone, shape: tuple[int, ...]) -> Any:
    """By torch's own tracer and the frontend of the engine."""
    silent_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    flattened, pixels = _Flat(backbone), torch.zeros(shape)
    with warnings.catch_warnings(), torch.no_grad():
        # That a size is a constant from here on is meant; it is asserted with every answer.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(flattened, pixels, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=(pixels,))
        frontend = FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape(list(shape))
    for output, name in zip(graph.outputs, flattened.names, strict=True):
        output.get_tensor().set_names({name})
    return graph


def compiled_graph(graph: Any, compute: str, threads: int) -> Any:
    """Compile for this CPU.

    Args:
        graph: As traced.
        compute: Compute dtype.
        threads: Of every product.
    """
    return runtime_core().compile_model(graph, "CPU", settings(compute, threads))


def restored_graph(data: bytes, compute: str, threads: int) -> Any:
    """What was compiled and exported before."""
    return runtime_core().import_model(data, "CPU", settings(compute, threads))


def streams(threads: int) -> int:
    """How many passes share so many threads: a pass gives the same bits on any number of them."""
    return max(1, min(threads, MOST_STREAMS))


@functools.cache
def settings(compute: str, threads: int) -> dict[str, Any]:
    """As many threads as torch would take, divided among streams, wherever the system puts them."""
    return {
        "INFERENCE_PRECISION_HINT": PRECISIONS[compute],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams(threads),
        "ENABLE_CPU_PINNING": False,
    }
