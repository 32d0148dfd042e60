"""Which network a checkpoint is, whatever it is called, wherever it lies and whoever saved it again."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from cache_schema.format.canonical import sha256_json

UNTOLD = frozenset(
    {
        "_commit_hash",
        "_name_or_path",
        "apply_layernorm",
        "architectures",
        "attn_implementation",
        "auto_map",
        "dtype",
        "finetuning_task",
        "id2label",
        "initializer_range",
        "label2id",
        "model_type",
        "name_or_path",
        "num_labels",
        "out_features",
        "out_indices",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "quantization_config",
        "reshape_hidden_states",
        "return_dict",
        "stage_names",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "use_return_dict",
    }
)
"""Names, versions, and what no token depends on."""


def config_digest(config: Any) -> str:
    """SHA-256 of what a configuration says beyond the defaults of its class.

    What it leaves out and what it says as the default are the same network, and a field that a later
    version of `transformers` adds has its default in every checkpoint of before.

    Args:
        config: A configuration of `transformers`.
    """
    default = type(config)().to_dict()
    said = {
        name: value
        for name, value in config.to_dict().items()
        if name not in UNTOLD and not name.startswith("_attn") and value != default.get(name)
    }
    return sha256_json(said)


def checkpoint_weights(network: nn.Module, absent: Collection[str]) -> Mapping[str, Tensor]:
    """Parameters by the names that a checkpoint has them under, in float32.

    `transformers` names and joins parameters as it likes, and otherwise in the next version; what it writes
    keeps the form that was published. A prefix that all share (`vision_model.`) is taken off.

    Args:
        network: As `AutoModel` made it.
        absent: Those that the checkpoint does not have.
    """
    present = {name: value for name, value in network.state_dict().items() if name not in absent}
    named = _without_prefix(_as_published(network, present))
    return {name: value.float() if value.is_floating_point() else value for name, value in named.items()}


def _without_prefix(named: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names without the parts at their beginning that all of them have."""
    first = {name.partition(".")[0] for name in named}
    if len(first) != 1 or not all("." in name for name in named):
        return named
    return _without_prefix({name.partition(".")[2]: value for name, value in named.items()})


def _as_published(network: nn.Module, present: dict[str, Tensor]) -> Mapping[str, Tensor]:
    """By the names that `save_pretrained` writes."""
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ModuleNotFoundError:
        return present  # before version 5, networks used the published names themselves
    # How this folder's names were read says nothing of how they are published.
    read_by = network.__dict__.pop("_weight_conversions", None)
    try:
        return dict(revert_weight_conversion(network, present))
    finally:
        network.__dict__["_weight_conversions"] = read_by
