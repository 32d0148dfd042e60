"""Weights: read from a checkpoint folder, drawn from a seed, and named by their digest.

Only safetensors is read: a pickle may run code, so a folder without safetensors is refused.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cache_schema.common.errors import ConfigError
from extract.staging import copied

ParameterShapes = Mapping[str, tuple[int, ...]]

POSITION_DEVIATION = 0.1
"""Of a drawn CLS token, registers and position table: small beside the patches, or they would be most of
what the CLS says."""


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the parameters in name order: name, dtype, shape, little-endian bytes."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        sha.update(json.dumps([name, dtype, list(tensor.shape)], separators=(",", ":")).encode())
        sha.update(tensor_bytes(tensor))
    return sha.hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Little-endian bytes of a contiguous CPU tensor of any dtype, bfloat16 included."""
    flat: np.ndarray[Any, Any] = tensor.reshape(-1).view(torch.uint8).numpy()
    width = tensor.element_size()
    if np.little_endian or width == 1:
        return flat.data
    return np.ascontiguousarray(flat.reshape(-1, width)[:, ::-1]).data  # pragma: no cover


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder, from one or several safetensors files.

    Raises:
        ConfigError: If there is no safetensors file, or one cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConfigError(
            f"the backbone folder {str(folder)!r} has no .safetensors file; pickled weights "
            "(.bin, .pth) are not read because they can run code"
        )
    weights: dict[str, Tensor] = {}
    for path in files:
        try:
            with copied({"weights": path}) as copies:
                weights.update(load_file(copies["weights"] if copies else path))
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"cannot read the weights {str(path)!r}: {error}") from error
    return weights


def select_parameters(
    weights: Mapping[str, Tensor], shapes: ParameterShapes, where: str
) -> dict[str, Tensor]:
    """The parameters that the network needs, with a task prefix such as `dinov2.` taken off.

    Raises:
        ConfigError: Naming the first parameter that is absent or has another shape.
    """
    prefix = "" if "layernorm.weight" in weights else task_prefix(weights)
    chosen: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        found = weights.get(prefix + name)
        if found is None or tuple(found.shape) != shape:
            got = "is absent" if found is None else f"has shape {tuple(found.shape)}"
            raise ConfigError(f"{where}: the parameter {name} {got}, expected {shape}")
        chosen[name] = found
    return chosen


def task_prefix(weights: Mapping[str, Tensor]) -> str:
    """What stands before `layernorm.weight` in a checkpoint that carries a task's head too."""
    return next((n.removesuffix("layernorm.weight") for n in weights if n.endswith(".layernorm.weight")), "")


def draw_weights(shapes: ParameterShapes, seed: int) -> dict[str, Tensor]:
    """Draw every parameter of a network in name order from one PCG64 stream.

    Norm weights and LayerScale are 1 and biases 0; they take no numbers from the stream.
    """
    bits = np.random.PCG64(seed)
    return {name: draw_parameter(bits, name, size) for name, size in sorted(shapes.items())}


def draw_parameter(bits: np.random.PCG64, name: str, size: tuple[int, ...]) -> Tensor:
    """One parameter, by what its name says it is."""
    if name.endswith("bias"):
        return torch.zeros(size)
    if "norm" in name or name.endswith("lambda1"):
        return torch.ones(size)
    if name.startswith("embeddings") and not name.endswith("projection.weight"):
        return draw_uniform(bits, size, POSITION_DEVIATION)
    return draw_uniform(bits, size, float(np.prod(size[1:])) ** -0.5)


def draw_uniform(bits: np.random.PCG64, shape: tuple[int, ...], deviation: float) -> Tensor:
    """Uniform numbers of mean 0 and the given standard deviation, float32.

    Made from the generator's raw 64-bit output by one multiplication, so that neither a change in
    numpy's distributions nor a mathematics library can change a weight.
    """
    raw = bits.random_raw(int(np.prod(shape)))
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    values = (2.0 * unit - 1.0) * (3.0**0.5 * deviation)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))
