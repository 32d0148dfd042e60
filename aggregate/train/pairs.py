"""Contrasts of two classes in the run folder: where each lies, and the table of all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aggregate.common.run_folder import BUNDLE, CARD, METRICS_FILE, PAIRS, REPORT
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_t_test
from aggregate.statistics.evaluate import Measured
from aggregate.statistics.holm import holm
from aggregate.statistics.metrics import GUESSING
from aggregate.targets.pairs import Contrast
from cache_schema.common.errors import SlicecacheError


def forget(folder: Path) -> None:
    """Take away what an earlier run ended with, its contrasts' included: it must not pass for this one's."""
    for place in (folder, *folder.glob(f"{PAIRS}/*")):
        for name in (METRICS_FILE, REPORT):
            (place / name).unlink(missing_ok=True)
    for card in folder.glob(f"{PAIRS}/*/{BUNDLE}/{CARD}"):
        card.unlink()


def contrast_json(contrast: Contrast, head: Measured) -> dict[str, Any]:
    """What a contrast's `metrics.json` says of itself.

    Returns:
        name, and `against_guessing`: difference of the head's AUROC to 0.5 with interval and p, two-sided;
        None where folds do not give them.
    """
    values = head.values["auroc"] - GUESSING
    try:
        found = corrected_t_test(values, head.n_train, head.n_test, overlap=SHARED_PAIRS)
    except SlicecacheError:
        return {"name": contrast.name, "against_guessing": None}
    ends = np.clip([found.low, found.high], -GUESSING, GUESSING)
    pairs = {"difference": found.difference, "ci_low": ends[0], "ci_high": ends[1], "p": found.p}
    numbers = {name: float(value) if np.isfinite(value) else None for name, value in pairs.items()}
    return {"name": contrast.name, "against_guessing": numbers}


def pairs_json(contrasts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The part `pairs` of the whole training's `metrics.json`, by name of the contrast.

    `p_holm` is adjusted over the contrasts, for guessing and for each baseline apart; an undefined p counts
    as 1 among the others.

    Args:
        contrasts: Each one's `metrics.json`.
    """
    table: dict[str, Any] = {}
    for metrics in contrasts:
        name = metrics["contrast"]["name"]
        table[name] = {
            "folder": f"{PAIRS}/{name}",
            **{key: metrics[key] for key in ("classes", "positive", "n_participants", "n_per_class")},
            **{key: metrics[key] for key in ("metrics", "baselines", "warnings")},
            "against_guessing": dict(metrics["contrast"]["against_guessing"] or {}),
            "comparison": {other: dict(found) for other, found in metrics["comparison"].items()},
        }
    rows = list(table.values())
    _adjust([row["against_guessing"] for row in rows])
    for other in dict.fromkeys(name for row in rows for name in row["comparison"]):
        _adjust([row["comparison"][other] for row in rows if other in row["comparison"]])
    return table


def _adjust(family: Sequence[dict[str, Any]]) -> None:
    """Give comparisons their `p_holm`."""
    p = [found.get("p") for found in family]
    for found, own, adjusted in zip(family, p, holm([1.0 if one is None else one for one in p]), strict=True):
        found["p_holm"] = None if own is None else adjusted
