"""A compiled graph in the interface of a backbone."""

import os
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache_schema.cluster.alike import library_version
from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.format.canonical import sha256_json
from extract.backbones.backbone import Backbone, Tokens
from extract.backbones.compiled.graph import (
    PRECISIONS,
    compiled_graph,
    flat,
    restored_graph,
    streams,
    traced_graph,
)
from extract.backbones.compiled.kept import keep, read_kept
from extract.backbones.compiled.runtime import PACKAGE, capabilities, installed
from extract.slices.sides import Canvas, sides

INSTALL = "pip install 'slicecache[openvino]'"
RECIPE = 1
"""Raised by whoever changes what is traced or compiled; graphs that are kept are of one recipe."""
MADE_WITH = (PACKAGE, "torch", "transformers")


def compile_backbone(
    backbone: Backbone, canvas: Canvas, rows: int, compute: str, processor: str
) -> "CompiledBackbone":
    """Compile a placed backbone, or take the graph that was compiled before.

    Args:
        backbone: In torch, float32, on the CPU.
        canvas: Pixels along a side, or rows and columns.
        rows: Slices of every pass; fewer are filled up.
        compute: Compute dtype.
        processor: Its kind; a graph that is kept is of one.

    Raises:
        ConfigError: If openvino is not installed.
        MachineError: If this processor has no such arithmetic.
    """
    if not installed():
        raise ConfigError(f"extract.engine is 'openvino', which is not installed: {INSTALL}")
    try:
        there = capabilities()
    except (ImportError, OSError, RuntimeError) as error:
        raise MachineError(f"openvino does not load here ({error}): say extract.engine: torch") from error
    if compute == "bfloat16" and "BF16" not in there:
        raise MachineError(
            "this processor has no bfloat16 for openvino: take another, or say extract.dtype: float32 and "
            "give this extraction a store of its own"
        )
    shape, threads = (rows, 3, *sides(canvas)), torch.get_num_threads()
    names = tuple(flat(backbone(torch.zeros(1, *shape[1:]))))
    key = sha256_json(
        {
            "recipe": RECIPE,
            "backbone": backbone.identity.model_dump(mode="json"),
            "arrays": list(names),
            "shape": list(shape),
            "precision": PRECISIONS[compute],
            "processor": [processor, *there, os.environ.get("ONEDNN_MAX_CPU_ISA", "")],
            "libraries": {name: library_version(name) for name in MADE_WITH},
        }
    )
    graph = _restored(key, compute, threads)
    if graph is None:
        traced = traced_graph(backbone, shape)
        try:
            graph = compiled_graph(traced, compute, threads)
        except RuntimeError as error:
            raise MachineError(
                f"openvino cannot compile this backbone in {compute} on this processor: say "
                f"extract.engine: torch ({' '.join(str(error).split())[:300]})"
            ) from error
        keep(key, graph.export_model().read())
    return CompiledBackbone(backbone, graph, names, shape, streams(threads))


def _restored(key: str, compute: str, threads: int) -> Any:
    """The graph that is kept under a key; None where there is none, or the library does not take it."""
    data = read_kept(key)
    if data is None:
        return None
    try:
        return restored_graph(data, compute, threads)
    except RuntimeError:
        return None


class CompiledBackbone:
    """A graph for blocks of one shape; says of itself what the network says that it was made of.

    It may be called by several threads: `at_once` blocks are computed at a time, the others wait.
    """

    def __init__(
        self, source: Backbone, graph: Any, names: tuple[str, ...], shape: tuple[int, ...], at_once: int = 1
    ) -> None:
        """The network itself is not kept."""
        self.identity, self.grid, self.dim, self.heads = (
            source.identity,
            source.grid,
            source.dim,
            source.heads,
        )
        self.offers, self.registers = source.offers, source.registers
        self.normalised, self.largest_token = source.normalised, source.largest_token
        self.at_once, self._names, self._shape = at_once, names, shape
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(at_once):
            self._free.put(graph.create_infer_request())
        self._pool = ThreadPoolExecutor(at_once, "slicecache-openvino")

    def __call__(self, pixels: Tensor) -> Tokens:
        """Embed normalised pixels `(slice, 3, height, width)`, block by block."""
        several = pixels.split(self._shape[0])
        blocks = [self._block(pixels)] if len(several) == 1 else list(self._pool.map(self._block, several))
        joined = {name: torch.cat([block[name] for block in blocks]) for name in self._names}
        patches, attention = joined.pop("patches"), joined.pop("cls_attention", None)
        more = {name: joined.pop(name) for name in self._names if name.startswith(("registers", "patches_"))}
        return Tokens(joined, patches, attention, more)

    def _block(self, pixels: Tensor) -> dict[str, Tensor]:
        """One pass; the last block is filled up with zeros."""
        filled = np.ascontiguousarray(pixels.numpy(), dtype=np.float32)
        if len(pixels) < self._shape[0]:
            filled = np.zeros(self._shape, dtype=np.float32)
            filled[: len(pixels)] = pixels.numpy()
        request = self._free.get()
        try:
            found = request.infer([filled], share_inputs=True)
            # Copies: the next pass writes over the request's own memory.
            arrays = {name: np.array(found[name]) for name in self._names}
        finally:
            self._free.put(request)
        answer: dict[str, Tensor] = {}
        for name, values in arrays.items():
            # A graph with a batch of its own mind was seen to return 8 rows for 16 slices without a word.
            if len(values) != self._shape[0]:
                raise MachineError(f"openvino gave {len(values)} rows of {name} for {self._shape[0]} slices")
            answer[name] = torch.from_numpy(values[: len(pixels)])
        return answer
