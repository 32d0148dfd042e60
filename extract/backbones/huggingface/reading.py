"""What of `transformers` reads a checkpoint, and what is held against it: no code, no pickle, no network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.machine import refuse_machine
from extract.backbones.checkpoint.hub import beginning
from extract.backbones.huggingface.queries import register


def read_network(folder: Path, where: str) -> tuple[Any, tuple[str, ...]]:
    """The network in float32, and the parameters that its checkpoint lacks.

    Raises:
        ConfigError: If `transformers` does not know it, or it is not what its configuration says.
        MachineError: If the disk failed.
    """
    with quiet():
        from transformers import AutoConfig, __version__

        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            config = getattr(config, "vision_config", config)
            if getattr(config, "mask_ratio", None):
                config.mask_ratio = 0.0  # drops no patch; identity order is given with each call
            _require_plausible(config, folder, where)
            network, found = network_class(config).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # said below, by name
                attn_implementation=_attention(config),
                use_safetensors=True,
                local_files_only=True,
            )
        except SlicecacheError:
            raise
        except Exception as error:  # each version checks a configuration otherwise, with errors of its own
            refuse_machine(error, "read", folder)
            said = f" ({beginning(error)})" if str(error) else ""
            raise ConfigError(
                f"{where} cannot be loaded by transformers {__version__}: {type(error).__name__}{said}"
            ) from error
    other = sorted(map(_mismatch, found["mismatched_keys"]))
    if other:
        raise ConfigError(f"{where}: a parameter is not of the shape that config.json says: {other[0]}")
    return network.eval(), tuple(found["missing_keys"])


def _mismatch(found: Any) -> str:
    """A parameter whose shape differs, in words."""
    if isinstance(found, str):
        return found
    name, there, said = found
    return f"{name} has {tuple(there)}, not {tuple(said)}"


def _require_plausible(config: Any, folder: Path, where: str) -> None:
    """Before memory is taken: a network of no more numbers than its weights have bytes.

    Raises:
        ConfigError: Naming both.
    """
    with torch.device("meta"):
        network = network_class(config)._from_config(config, attn_implementation="eager")
    numbers = sum(parameter.numel() for parameter in network.parameters())
    there = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if numbers > there:
        raise ConfigError(
            f"{where}: config.json describes a network of {numbers} numbers, and its weights have "
            f"{there} bytes"
        )


def _attention(config: Any) -> str:
    """Ours where the network lets its attention be chosen, else whatever is written out in it."""
    supported = getattr(network_class(config), "_supports_attention_backend", False)
    return register() if supported else "eager"


def network_class(config: Any) -> Any:
    """What `AutoModel` makes of a configuration: a class of `transformers`' own, never one of a repository.

    Raises:
        ConfigError: If it makes nothing of it.
    """
    import transformers

    name = f"{type(config).__name__.removesuffix('Config')}Model"
    # Old versions leave out of the list what they have, e.g. the images' part of SigLIP 2.
    found = transformers.AutoModel._model_mapping.get(type(config), getattr(transformers, name, None))
    if not isinstance(found, type):
        raise ConfigError(
            f"transformers {transformers.__version__} has no network for {type(config).__name__}"
        )
    return found


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
