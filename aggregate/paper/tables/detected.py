"""A detection: detectors and baselines by region, by slice and by volume."""

from collections.abc import Mapping
from typing import Any

from aggregate.paper.finished import Finished
from aggregate.paper.tables.table import WIDEST, Table
from aggregate.report.pages.detection import DETECTOR_HEAD


def detection_tables(run: Finished) -> list[Table]:
    """Detectors and baselines by region, and what they differ by."""
    metrics = run.metrics
    every = {**metrics["metrics"], **metrics["baselines"]}
    found = []
    for region in ("foreground", "all"):
        rows = {name: row[region] for name, row in every.items() if region in row}
        if rows:
            shown = {
                name: {key: row[key] for key in row if key in DETECTOR_HEAD} for name, row in rows.items()
            }
            where = "voxels of the foreground" if region == "foreground" else "all voxels of the kept slices"
            found += _detector_tables(
                f"voxels_{region}", f"Detectors, {where}; value (95 % interval).", shown
            )
    whole = {
        name: {key: value for key, value in row.items() if key in DETECTOR_HEAD and isinstance(value, dict)}
        for name, row in every.items()
    }
    return found + _detector_tables("volumes", "Detectors, slices and volumes; value (95 % interval).", whole)


def _detector_tables(name: str, caption: str, rows: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    order = [
        key
        for key in DETECTOR_HEAD
        if any((row.get(key) or {}).get("value") is not None for row in rows.values())
    ]
    parts = [order[at : at + WIDEST] for at in range(0, len(order), WIDEST)]
    return [
        Table(
            name if index == 0 else f"{name}_{index + 1}",
            caption,
            ("detector", *(DETECTOR_HEAD[key] for key in part)),
            tuple((called, *(_three(row.get(key)) for key in part)) for called, row in rows.items()),
        )
        for index, part in enumerate(parts)
    ]


def _three(found: Mapping[str, Any] | None) -> str:
    """`0.812 (0.701 to 0.923)`."""
    if not found or found.get("value") is None:
        return "–"
    low, high = found.get("ci_low"), found.get("ci_high")
    text = f"{found['value']:.3f}" + (
        f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
    )
    return text.replace("-", "−")
