"""What `bmad.py` prints: our rows, and the published ones below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PUBLISHED = {
    "BraTS2021": {
        "memory_bank, DINOv2-S": (97.71, 58.69, 984),
        "memory_bank, DINOv3-S": (98.38, 69.49, 585),
        "dpmm, DINOv2-S": (91.16, 29.18, 58),
        "dpmm, DINOv3-S": (96.12, 48.09, 149),
        "spatial_ar, standard": (97.87, 64.70, 20),
        "spatial_ar, dilated": (98.35, 72.42, 20),
    },
    "BTCV+LiTS": {
        "memory_bank, DINOv2-S": (97.24, 17.91, None),
        "memory_bank, DINOv3-S": (96.98, 5.35, None),
        "dpmm, DINOv2-S": (96.30, 7.05, None),
        "dpmm, DINOv3-S": (90.48, 1.94, None),
        "spatial_ar, standard": (97.32, 8.44, None),
        "spatial_ar, dilated": (96.39, 5.51, None),
    },
    "RESC": {
        "memory_bank, DINOv2-S": (94.04, 50.45, None),
        "memory_bank, DINOv3-S": (96.93, 63.40, None),
        "dpmm, DINOv2-S": (86.47, 34.99, None),
        "dpmm, DINOv3-S": (86.94, 37.70, None),
        "spatial_ar, standard": (94.39, 56.16, None),
        "spatial_ar, dilated": (93.09, 42.34, None),
    },
}
"""Pixel AUROC and AUPR in percent and ms per slice, as the authors of arXiv 2603.02974 report them."""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean and standard deviation over seeds, the published numbers below."""
    lines = [
        "| detector | pixel AUROC | AP | AUPRO | slice AUROC | ms per slice |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["detector"] for row in rows):
        own = [row for row in rows if row["detector"] == name]
        cells = [
            _spread([100 * row["at_240_all"]["metrics"][key] for row in own])
            for key in ("pixel_auroc", "pixel_ap", "aupro")
        ]
        cells.append(_spread([100 * row["slice_auroc"][0] for row in own]))
        cells.append(_spread([row["embed_ms"] + row["score_ms"] for row in own]))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for dataset, published in PUBLISHED.items():
        for name, (auroc, ap, ms) in published.items():
            said = "" if ms is None else str(ms)
            lines.append(f"| published, {dataset}: {name} | {auroc} | {ap} | | | {said} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    """`97.7 ± 0.2`."""
    deviation = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
