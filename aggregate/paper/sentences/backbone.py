"""The frozen network: which one, with which weights and arithmetic, and what of its output was kept."""

from typing import Any

from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences.words import cite, joined, listed, told
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted
from cache_schema.format.header import Header

SIZES = {"small": "ViT-S", "base": "ViT-B", "large": "ViT-L", "giant": "ViT-g"}
SHOWN = 12
"""Characters of a digest in a text; all of them are in the report."""


def backbone(run: Finished) -> str:
    """Of every store."""
    if not run.headers:
        return f"Backbone: {TO_FILL} (the run does not hold the store's header)."
    several = len(run.headers) > 1
    parts = [
        f"{f'Store `{name}`: ' if several else ''}{of_store(header)}" for name, header in run.headers.items()
    ]
    other = [f"`{label(name)}`" for name in run.metrics.get("beside") or {}]
    beside = (
        f"Tokens of the stores {listed(other)} stood beside; their backbones: {TO_FILL}." if other else ""
    )
    return joined([*parts, beside])


def of_store(header: Header) -> str:
    """Network, weights, tokens and arithmetic of one store."""
    found, numerics = header.fingerprint, header.numerics
    shape = found.backbone.architecture
    kept = listed(f"`{spec.name}`" for spec in header.arrays)
    arithmetic = (
        f"It was computed once in {numerics.compute_dtype} and stored in {numerics.storage_dtype}"
        f"{_device(header)}; kept were the arrays {kept}."
    )
    return joined(
        [
            f"Slices were embedded by {network(shape)}, frozen throughout.",
            _sizes(shape),
            f"Its weights have the SHA-256 {found.backbone.weights_sha256[:SHOWN]}…, the store's fingerprint "
            f"is {found.digest[:SHOWN]}….",
            arithmetic,
        ]
    )


def network(shape: dict[str, Any]) -> str:
    """The network's name with its reference."""
    kind, size = str(shape.get("kind")), str(shape.get("size") or "")
    patch = f"/{shape['patch_size']}" if shape.get("patch_size") else ""
    called = f"{SIZES.get(size, size)}{patch}"
    registers = bool(shape.get("registers"))
    if kind == "dinov2":
        more = f" with {shape['registers']} registers" if registers else ""
        return f"DINOv2 {called}{more} {cite('oquab2024dinov2', *['darcet2024registers'] * registers)}"
    if kind == "dinov3":
        return f"DINOv3 {called} {cite('simeoni2025dinov3')}".replace("  ", " ")
    if kind == "untrained":
        return (
            f"a vision transformer {cite('dosovitskiy2021vit')} of the size {size}{patch} with random "
            f"weights "
            f"(seed {told(shape.get('seed'))}), which is a control and says nothing about trained features"
        )
    name = next((str(shape[key]) for key in ("model", "target", "id", "name") if shape.get(key)), TO_FILL)
    return f"the backbone {label(name, 120)} (kind {label(kind)}; reference: {TO_FILL})"


def _sizes(shape: dict[str, Any]) -> str:
    named = {"layers": "blocks", "heads": "heads", "dim": "numbers per token"}
    known = [f"{shape[key]} {word}" for key, word in named.items() if isinstance(shape.get(key), int)]
    return f"It has {listed(known)}." if known else ""


def _device(header: Header) -> str:
    device = header.created.get("device")
    return f" on a device of the kind {label(str(device))}" if device else ""


def tokens(run: Finished) -> str:
    """What a slice is described by in stage two."""
    name = run.said("tokens")
    several = isinstance(name, list) or "+" in str(name or "")
    names = name if isinstance(name, list) else str(name).split("+")
    if not name:
        return ""
    shown = listed(f"`{label(str(one))}`" for one in names)
    return (
        f"A slice is described by {shown}{', side by side' if several else ''} "
        f"({counted(len(names), 'array')})."
    )
