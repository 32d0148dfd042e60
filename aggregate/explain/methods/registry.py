"""The registry of methods: a class per `kind`, and what is asked where nobody says.

Grammar: `--method attention`, `--method "{kind: leave_out, window_mm: 12}"`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from aggregate.explain.methods.attention import AttentionMap
from aggregate.explain.methods.base import MethodBase
from aggregate.explain.methods.gradients import TokenGradients
from aggregate.explain.methods.leave_out import LeaveOut, SwapTypical
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from cache_schema.common.text.mistakes import shown, suggest

METHODS: dict[str, type[MethodBase]] = {
    method.model_fields["kind"].default: method
    for method in (AttentionMap, LeaveOut, SwapTypical, TokenGradients)
}
"""By kind."""

USUAL_METHODS: tuple[MethodBase, ...] = (
    TokenGradients(),
    SwapTypical(),
    LeaveOut(),
    LeaveOut(window_mm=12),
    AttentionMap(),
)
"""The first is the one that maps are written of; `benchmarks/explain.py` chose it, on a seed of its own."""


def read_methods(given: Sequence[str | Mapping[str, Any]]) -> tuple[MethodBase, ...]:
    """What `--method` says, or Python as mappings, or the usual ones.

    Raises:
        ConfigError: If one is not known, or two have one name.
    """
    found = tuple(_read(text) for text in given) or USUAL_METHODS
    names = [method.name for method in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"--method names {twice[0]!r} twice")
    return found


def _read(said: str | Mapping[str, Any]) -> MethodBase:
    try:
        value = yaml.safe_load(said) if isinstance(said, str) else dict(said)
    except (yaml.YAMLError, RecursionError):
        value = said
    options = value if isinstance(value, dict) else {"kind": value}
    kind = options.get("kind")
    if not isinstance(kind, str) or kind not in METHODS:
        raise ConfigError(f"--method: there is no {shown(kind)}{suggest(str(kind), list(METHODS))}")
    return validate(METHODS[kind], options, f"--method {kind}")
