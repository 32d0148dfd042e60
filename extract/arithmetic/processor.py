"""Which kind of processor this is: on one kind equal numerics give equal bits, across kinds nearly so."""

import functools
import os
import platform
from collections.abc import Mapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
WIDEST = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "avx", "asimd")
"""Instructions that products are made of, as Linux calls them, the widest first."""
LIMIT = "ONEDNN_MAX_CPU_ISA"
MOST_LETTERS = 200
"""That a record takes."""


def processor_name(path: Path = CPUINFO) -> str:
    """Model of the CPU; its architecture where the system does not say."""
    return _said(path).get("model name", "") or platform.processor() or platform.machine()


def processor_kind(path: Path = CPUINFO, environment: Mapping[str, str] = os.environ) -> str:
    """Model and widest instructions, `AMD EPYC, avx512_bf16`, and what forbids some of them."""
    said = _said(path)
    flags = (said.get("flags") or said.get("Features") or "").split()
    widest = next((name for name in WIDEST if name in flags), "")
    limit = environment.get(LIMIT, "")
    parts = (processor_name(path), widest, limit and f"{LIMIT}={limit}")
    return ", ".join(filter(None, parts))[:MOST_LETTERS]


@functools.cache
def _said(path: Path) -> dict[str, str]:
    """What Linux says of the first CPU; empty elsewhere."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
