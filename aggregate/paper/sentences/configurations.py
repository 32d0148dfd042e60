"""What an ablation compared: its configurations and its grid, with what any of them comes from."""

from collections.abc import Iterator, Mapping
from typing import Any

from aggregate.config.recipes import RECIPES
from aggregate.paper.finished import Finished
from aggregate.paper.sentences.training import COMBAT, HEADS, LOSSES, OPTIMISERS, SYSTEMS, labelled
from aggregate.paper.sentences.words import cite, joined, listed, told
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted


def configurations(run: Finished) -> str:
    """All of it."""
    spec = run.said("ablate") or {}
    found = run.metrics["ablation"]
    told_each = [
        f"{label(labelled(run, name))} ({_varied(given)})"
        for name, given in (spec.get("configurations") or {}).items()
    ]
    first = (
        f"{counted(int(found['n_configurations']), 'configuration')}, of which {found['n_distinct']} "
        f"differ in what "
        f"they compute, were trained on the same folds ({counted(int(found['n_runs']), 'run')}): "
        f"{listed(told_each)}."
    )
    again = (
        "A recipe with a start of its own stands there a second time (start=baseline): without embedding "
        "layers, started at the linear solution."
        if any("start=baseline" in name for name in found["configurations"])
        else ""
    )
    last = "What a configuration does not say is as described above."
    return joined([first, crossed(spec), added(spec), again, last])


def crossed(spec: Mapping[str, Any]) -> str:
    """The grid, each path with its values and with what one of them comes from."""
    grid = dict(spec.get("grid") or {})
    start = grid.pop("from", None)
    if not grid:
        return ""
    axes = []
    for path, values in grid.items():
        many = values if isinstance(values, list) else [values]
        axes.append(f"`{path}` over {told(values)}{_cited(key for v in many for key in sources(path, v))}")
    return f"A grid {f'from {label(str(start))} ' if start else ''}crossed {listed(axes)}."


def added(spec: Mapping[str, Any]) -> str:
    """Points beside the grid's combinations."""
    points = [_varied(point) for point in spec.get("include") or []]
    return f"Beside the grid's own points there were {listed(points)}." if points else ""


def _varied(given: Any) -> str:
    changes = {path: value for path, value in (given or {}).items() if path != "label"}
    shown = ", ".join(f"`{path}` {told(value)}" for path, value in changes.items()) or "as the section says"
    return f"{shown}{_cited(key for path, value in changes.items() for key in sources(path, value))}"


def _cited(keys: Iterator[str]) -> str:
    found = list(dict.fromkeys(keys))
    return f" {cite(*found)}" if found else ""


def sources(path: str, value: Any) -> Iterator[str]:
    """Keys of what a configuration uses that has this value at this dotted path.

    Example:
        >>> list(sources("loss.supcon.weight", 0.5))
        ['khosla2020supcon']
        >>> list(sources("loss", {"supcon": {"weight": 0}, "focal": 1}))
        ['lin2017focal']
    """
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from sources(f"{path}.{key}" if path else str(key), below)
        return
    part, _, name = path.partition(".")
    if part == "recipe" and value in RECIPES:
        yield from [SYSTEMS[value]] if value in SYSTEMS else []
        yield from sources("", RECIPES[value])
    elif path in ("head", "head.kind"):
        yield from HEADS.get(str(value), ())
    elif part == "loss" and value not in (None, 0) and not isinstance(value, bool):
        yield from LOSSES.get(name.removesuffix(".weight"), ())
    elif path in ("harmonise", "harmonise.kind") and value == "combat":
        yield from COMBAT
    elif path == "train.optimiser" and value in OPTIMISERS:
        yield OPTIMISERS[value]
