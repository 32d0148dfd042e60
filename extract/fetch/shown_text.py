"""What `slicecache backbone show` says to a person."""

from collections.abc import Mapping
from typing import Any

from cache_schema.files.disk.room import in_units
from extract.fetch.show import UNKNOWN, Shown


def shown_text(shown: Shown) -> str:
    """What a person reads."""
    lines = [("backbone", f"{shown.model_type}, {shown.folder or shown.source}")]
    lines += (
        [("sizes", ", ".join(f"{name} {value}" for name, value in shown.sizes.items() if value))]
        if shown.sizes
        else []
    )
    lines += [("tokens", _tokens_text(shown.tokens)), ("processor", _processor_text(shown.processor))]
    if shown.weights is not None:
        lines.append(("weights", _weights_text(shown.weights)))
    if shown.digest is not None:
        lines.append(("digest", shown.digest))
    if shown.licence:
        gate = (
            ", gated: accept it on the repository's page, then `hf auth login` or HF_TOKEN"
            if shown.gated
            else ""
        )
        lines.append(("licence", f"{shown.licence}{gate}"))
    lines.append(("pipeline", shown.pipeline))
    return "\n".join(f"{name:<10} {text}" for name, text in lines)


def _tokens_text(tokens: Mapping[str, Any]) -> str:
    if "unknown" in tokens:
        return f"{UNKNOWN}: {tokens['unknown']}"
    first = ["CLS"] * tokens["cls"] + [f"{tokens['registers']} registers"] * bool(tokens["registers"])
    offers = ", ".join(["patch_mean", "patches", *tokens["offers"]])
    order = ", ".join([*first, "patches row by row"])
    return f"{order}; a store can keep {offers}; positions: {tokens['positions']}"


def _processor_text(processor: Mapping[str, Any] | None) -> str:
    if processor is None:
        return "states nothing; pixels are normalised as extract.normalise says"
    size = " x ".join(map(str, processor["size"])) + " px" if processor["size"] else "no one size"
    mean, std = (" ".join(f"{value:g}" for value in processor[name]) for name in ("mean", "std"))
    stated = f"{size}, {processor['interpolation'] or 'no resize'}, mean {mean}, std {std}"
    if processor["canvas"] is None:
        return f"{stated}; for these numbers say normalise: model"
    canvas = ", ".join(f"{name}: {value}" for name, value in processor["canvas"].items())
    return f"{stated}; for just that say canvas: {{{canvas}}}, normalise: model (canvas: model takes it, too)"


def _weights_text(weights: Mapping[str, Any]) -> str:
    size = in_units(sum(file["bytes"] for file in weights["files"]))
    names = ", ".join(file["name"] for file in weights["files"][:3])
    more = f" and {len(weights['files']) - 3} more" if len(weights["files"]) > 3 else ""
    dtypes, count = " and ".join(weights["dtypes"]), weights["parameters"]
    return f"{count / 1e6:.1f} M numbers ({dtypes}) in {weights['tensors']} tensors, {size}: {names}{more}"
