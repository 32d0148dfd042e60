"""How sentences of a paper are put together: lists, counts, parameters, and what is cited."""

from collections.abc import Iterable, Mapping
from typing import Any

from cache_schema.common.terminal.visible import label


def cite(*keys: str) -> str:
    """`[@one; @two]`, as pandoc reads it; what is cited stands in `references.bib`."""
    return f"[{'; '.join(f'@{key}' for key in keys)}]"


def listed(items: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = [*items] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def told(value: Any) -> str:
    """A value of a configuration as text: `0.001`, `256 and 128`, `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return listed(told(item) for item in value) if value else "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {told(item)}" for name, item in value.items())
    return label(str(value))


def parameters(spec: Mapping[str, Any], *hidden: str) -> str:
    """` (size 100000, neighbours 1)` of a spec's own settings, or nothing."""
    shown = [
        f"{name.replace('_', ' ')} {told(value)}"
        for name, value in spec.items()
        if name not in ("kind", "name", *hidden) and value is not None
    ]
    return f" ({', '.join(shown)})" if shown else ""


def joined(sentences: Iterable[str]) -> str:
    """Sentences of a paragraph, those that are empty left out."""
    return " ".join(sentence for sentence in sentences if sentence)
