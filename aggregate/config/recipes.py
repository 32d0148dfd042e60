"""Named recipes: several keys of `head`, `loss` and `train` at once, each of which can be overridden.

`dinoatten3d` is the published method without the defects of its released code; `dinoatten3d_sum`
makes its variance term act (a sum over dimensions in place of a mean); `dinoatten3d_released` repeats
what the released code does: only the embedding layers reach the optimiser, batches are plain, and the
number of epochs is fixed (arXiv 2509.12512).

`mst` is the Medical Slice Transformer's fusion as published (arXiv 2411.15802) on frozen tokens: its first
weights, AdamW with a decay of 1e-2, bags drawn with replacement so that classes come as often, plain cross
entropy, and a stop after 50 epochs without a better AUROC of the validation part. Their rate of 1e-6 and
batch of 2 are for fine-tuning the backbone with it, which no cache can; rate and batch here are ours.
"""

from collections.abc import Mapping
from typing import Any

from aggregate.heads.registry import read_head
from cache_schema.common.errors import ConfigError
from cache_schema.common.text.mistakes import suggest

PARTS = ("head", "loss", "train")

_HEAD = {"kind": "attention", "hidden": 64, "embedding": [256, 128], "centre": False, "train": "all"}
_TRAIN = {
    "start": "plain",
    "batch_size": 16,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
}


def _loss(reduction: str) -> dict[str, Any]:
    return {
        "cross_entropy": {"weight": 1.0},
        "supcon": {"weight": 1.0, "temperature": 0.07},
        "class_variance": {"weight": 0.1, "reduction": reduction},
    }


_CROSS_ENTROPY = {
    "cross_entropy": {"weight": 1.0},
    "supcon": {"weight": 0.0},
    "class_variance": {"weight": 0.0},
}

RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "dinoatten3d": {"head": _HEAD, "loss": _loss("mean"), "train": _TRAIN},
    "dinoatten3d_sum": {"head": _HEAD, "loss": _loss("sum"), "train": _TRAIN},
    "dinoatten3d_released": {
        "head": {**_HEAD, "train": "embedding"},
        "loss": _loss("mean"),
        "train": {**_TRAIN, "epochs": 1000, "patience": None, "class_balanced": False},
    },
    "mst": {
        "head": {
            "kind": "mst",
            "heads": 12,
            "positions": "none",
            "draw": "as_released",
            "embedding": "none",
            "train": "all",
        },
        "loss": _CROSS_ENTROPY,
        "train": {
            **_TRAIN,
            "optimiser": "adamw",
            "learning_rate": 1e-4,
            "weight_decay": 1e-2,
            "class_balanced": "drawn",
            "watch": "auroc",
            "patience": 50,
        },
    },
}


FOR_CLASSES = {"watch": "loss", "class_balanced": "auto"}
"""What of a recipe's training is for classes, and what other targets have in its place."""


def without_classes(filled: Mapping[str, Any], explicit: Any) -> dict[str, Any]:
    """A raw section of a target that is no class, its recipe's training without what is for classes.

    Args:
        filled: With its recipe laid under it.
        explicit: `train` as the file says it, before the recipe: what it says stays, and is refused later.
    """
    train = filled.get("train")
    if filled.get("recipe") is None or not isinstance(train, Mapping):
        return dict(filled)
    said = explicit if isinstance(explicit, Mapping) else {}
    usual = {key: value for key, value in FOR_CLASSES.items() if key in train and key not in said}
    return {**filled, "train": {**train, **usual}}


def with_recipe(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fill `head`, `loss` and `train` of a raw section from its `recipe`; explicit keys win.

    A head of another kind replaces the recipe's head altogether, and a bare number for a loss replaces
    that term's weight only. Without a recipe the section is returned as it is.

    Raises:
        ConfigError: If the recipe is not known.
    """
    name = data.get("recipe")
    if name is None:
        return dict(data)
    if not isinstance(name, str) or name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}{suggest(str(name), sorted(RECIPES))}")
    recipe = RECIPES[name]
    return {**data, **{part: _merge(part, recipe[part], data.get(part)) for part in PARTS}}


def _merge(part: str, recipe: Mapping[str, Any], explicit: Any) -> Any:
    """Lay explicit keys over the recipe's; what is no mapping is left for the validation to refuse."""
    if explicit is None:
        return dict(recipe)
    explicit = read_head(explicit) if part == "head" else explicit
    if not isinstance(explicit, Mapping):
        return explicit
    if part == "head" and explicit.get("kind", recipe["kind"]) != recipe["kind"]:
        return dict(explicit)
    merged = {**recipe, **explicit}
    if part == "loss":
        merged.update({key: _merge_term(recipe[key], explicit[key]) for key in recipe.keys() & explicit})
    return merged


def _merge_term(recipe: Mapping[str, Any], explicit: Any) -> dict[str, Any]:
    """Lay one loss term over the recipe's."""
    return {**recipe, **(explicit if isinstance(explicit, Mapping) else {"weight": explicit})}
