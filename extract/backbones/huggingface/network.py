"""A checkpoint as `transformers` loads it: safetensors only, no code of a repository, nothing drawn."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cache_schema.common.errors import ConfigError
from cache_schema.format.header import BackboneIdentity
from extract.backbones.checkpoint.whole import incomplete
from extract.backbones.huggingface.identity import checkpoint_weights, config_digest
from extract.backbones.huggingface.layout import DeclaredLayout, Layout, layout_of
from extract.backbones.huggingface.placed import Described, PretrainedBackbone
from extract.backbones.huggingface.reading import read_network
from extract.backbones.processor import Processor, read_processor
from extract.backbones.published import called, read_config
from extract.backbones.shape import check_layers, check_patch_layers, stored_canvas
from extract.backbones.weights import weights_digest
from extract.slices.sides import Canvas

POOLING = ("pooler.", "head.")
"""Parts whose output is `pooled`; a checkpoint without their weights offers none."""
UNUSED = ("mask_token",)
"""Of masked training; no token depends on it."""


@dataclass(frozen=True, slots=True)
class PretrainedNetwork:
    """Weights in float32, before they are placed."""

    network: Any
    layout: Layout
    processor: Processor | None
    config_sha256: str
    weights: Mapping[str, Tensor]
    """By the names of the checkpoint, those that `AutoModel` uses."""
    where: str
    """Names the checkpoint in errors."""
    offers: frozenset[str] = field(default_factory=frozenset)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.layout.patch_size

    def place(
        self,
        canvas: Canvas,
        device: torch.device,
        dtype: torch.dtype,
        layers: Sequence[int] = (),
        attention: bool = False,
        patch_layers: Sequence[int] = (),
    ) -> PretrainedBackbone:
        """Name the weights by their digest, and put a copy on its device; see `NamedBackbone.build`."""
        grid = self.layout.grid(canvas)
        kept = check_layers(layers, self.layout.layers) if layers else ()
        identity = self.identity(canvas, grid, kept)
        stated = self.processor
        normalised = None if stated is None else (stated.mean, stated.std)
        described = Described(self.layout, self.offers, normalised, self.where)
        network = placed_copy(self.network, device, dtype)
        inner = check_patch_layers(patch_layers, self.layout.layers) if patch_layers else ()
        placed = PretrainedBackbone(network, described, identity, grid, attention, inner)
        placed.look(canvas, device)
        return placed

    def identity(self, canvas: Canvas, grid: tuple[int, int], layers: tuple[int, ...]) -> BackboneIdentity:
        """As it enters the fingerprint."""
        layout = self.layout
        return BackboneIdentity(
            architecture={
                "kind": "huggingface",
                "model_type": layout.model_type,
                "config_sha256": self.config_sha256,
                "cls": layout.family.cls,
                "registers": layout.registers,
                "dim": layout.dim,
                "patch_size": layout.patch_size,
                "canvas": stored_canvas(canvas),
            },
            weights_sha256=weights_digest(self.weights),
            position_table=layout.position_rule(grid),
            layers=layers,
        )


def placed_copy(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The network again, its parameters in a dtype on a device; those that are there already are shared.

    Buffers that no checkpoint holds (a rotary network's frequencies) keep their precision, as they do where
    `transformers` itself loads in that dtype.
    """
    kept = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    placed = copy.deepcopy(network, kept).eval()
    held = set(placed.state_dict())
    for path, module in placed.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                moved = parameter.detach().to(device, dtype)
                module._parameters[name] = nn.Parameter(moved, requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                cast = f"{path}.{name}".lstrip(".") in held and buffer.is_floating_point()
                module._buffers[name] = buffer.to(device, dtype if cast else buffer.dtype)
    return placed


def load_network(folder: Path, declared: DeclaredLayout | None) -> PretrainedNetwork:
    """Read a checkpoint folder.

    Raises:
        ConfigError: If `transformers` does not know it, it lacks weights, or holds none that are read.
    """
    where = called(folder)
    said = read_config(folder)
    if said.get("quantization_config") is not None:
        raise ConfigError(f"{where} is quantised, and a store needs its weights as they were trained")
    layout_of(said, declared, where)  # said before anything is loaded
    lacks = incomplete(folder)
    if lacks is not None:
        raise ConfigError(f"the backbone cannot be loaded: {lacks}")
    network, absent = read_network(folder, where)
    layout = layout_of(network.config.to_dict(), declared, where)
    poolers = [name for name in absent if name.startswith(POOLING)]
    lacking = sorted(set(absent) - set(poolers) - {n for n in absent if n.rpartition(".")[2] in UNUSED})
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ConfigError(
            f"{where}: its weights lack {lacking[0]!r}{more}, "
            f"which a network of model_type {layout.model_type!r} needs"
        )
    without = {"pooled"} if poolers or not _pools(network, layout) else set()
    return PretrainedNetwork(
        network=network,
        layout=layout,
        processor=read_processor(folder),
        config_sha256=config_digest(network.config),
        weights=checkpoint_weights(network, absent),
        where=where,
        offers=layout.offers - without,
    )


def _pools(network: Any, layout: Layout) -> bool:
    """Whether a network of a family that pools was made with that part, and gives tokens of one length."""
    config = network.config
    length = getattr(config, "pooler_output_size", None) or layout.dim
    return length == layout.dim and getattr(config, "vision_use_head", True) is not False
