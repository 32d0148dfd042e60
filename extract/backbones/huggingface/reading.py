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
        from transformers import AutoConfig, AutoModel, __version__

        safe = {"trust_remote_code": False, "local_files_only": True}
        try:
            config = AutoConfig.from_pretrained(folder, **safe)
            config = getattr(config, "vision_config", config)
            if getattr(config, "mask_ratio", None):
                config.mask_ratio = 0.0  # drops no patch; identity order is given with each call
            _require_plausible(config, folder, where)
            network, found = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # said below, by name
                attn_implementation=_attention(config),
                **safe,
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
    from transformers import AutoModel

    with torch.device("meta"):
        network = AutoModel.from_config(config, attn_implementation="eager", trust_remote_code=False)
    numbers = sum(parameter.numel() for parameter in network.parameters())
    there = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if numbers > there:
        raise ConfigError(
            f"{where}: config.json describes a network of {numbers} numbers, and its weights have "
            f"{there} bytes"
        )


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
