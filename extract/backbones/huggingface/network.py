"""A checkpoint as `transformers` loads it: safetensors only, no code of a repository, nothing drawn."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cache_schema.common.errors import ConfigError
from cache_schema.format.header import BackboneIdentity
from extract.backbones.huggingface.identity import checkpoint_weights, config_digest
from extract.backbones.huggingface.layout import DeclaredLayout, Layout, layout_of
from extract.backbones.huggingface.placed import Described, PretrainedBackbone
from extract.backbones.huggingface.queries import register
from extract.backbones.processor import Processor, read_processor
from extract.backbones.published import called, read_config
from extract.backbones.shape import check_layers, check_patch_layers
from extract.backbones.weights import weights_digest

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
        canvas: int,
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

    def identity(self, canvas: int, grid: tuple[int, int], layers: tuple[int, ...]) -> BackboneIdentity:
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
                "canvas": canvas,
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
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"the backbone folder {str(folder)!r} has no .safetensors file; pickled weights "
            "(.bin, .pth) are not read because they can run code"
        )
    network, absent = _read(folder, where)
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


def _read(folder: Path, where: str) -> tuple[Any, tuple[str, ...]]:
    """The network and the parameters that its checkpoint lacks."""
    from safetensors import SafetensorError

    with quiet():
        from transformers import AutoConfig, AutoModel

        safe = {"trust_remote_code": False, "local_files_only": True}
        try:
            config = AutoConfig.from_pretrained(folder, **safe)
            config = getattr(config, "vision_config", config)
            if getattr(config, "mask_ratio", None):
                config.mask_ratio = 0.0  # drops no patch; identity order is given with each call
            network, found = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                attn_implementation=_attention(config),
                **safe,
            )
        except (
            ImportError,
            KeyError,
            OSError,
            RuntimeError,
            SafetensorError,
            TypeError,
            ValueError,
        ) as error:
            said = " ".join(str(error).split(". ")[0].split()) or type(error).__name__
            raise ConfigError(f"{where} cannot be loaded by transformers: {said}") from error
    return network.eval(), tuple(found["missing_keys"])


def _attention(config: Any) -> str:
    """Ours where the network lets its attention be chosen, else whatever is written out in it."""
    from transformers import AutoModel

    model_class = AutoModel._model_mapping.get(type(config), None)
    return register() if getattr(model_class, "_supports_attention_backend", False) else "eager"


@contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars and advice on training of `transformers`: what matters is said by us."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
