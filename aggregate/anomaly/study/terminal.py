"""The result as a person reads it on a terminal."""

from typing import Any

import pandas as pd

from aggregate.anomaly.findings.results import DetectionResults

PIXEL_VALUES = ("pixel_auroc", "pixel_ap", "aupro", "dice_fpr05", "lesion_sensitivity")
WHOLE = ("slice_auroc", "volume_auroc")


def detection_summary(results: DetectionResults) -> str:
    """Warnings, the table with its baselines, and the verdict."""
    lines = [f"WARNING: {sentence}" for sentence in results.warnings]
    lines += filter(None, [results.turnout.line()])
    lines += results.notes[:2]
    lines.append("")
    lines += table(results.detectors)
    lines.append("")
    lines += results.verdict
    return "\n".join(lines)


def table(frame: pd.DataFrame) -> list[str]:
    """Foreground rows: the mean over seeds where there are several."""
    names = list(dict.fromkeys(frame["detector"]))
    width = max(len(name) for name in names)
    columns = [*PIXEL_VALUES, *WHOLE, "ms_per_slice"]
    lines = [f"{'':{width}}  " + "  ".join(f"{name:>{max(8, len(name))}}" for name in columns)]
    lines[0] += "   (voxels of the foreground)"
    for name in names:
        rows = frame[(frame["detector"] == name) & (frame["region"] == "foreground")]
        mean = rows[rows["seed"] == "mean"]
        row = (mean if len(mean) else rows).iloc[0]
        cells = [f"{terminal_cell(row[column]):>{max(8, len(column))}}" for column in columns]
        lines.append(f"{name:{width}}  " + "  ".join(cells))
    return lines


def terminal_cell(value: Any) -> str:
    """Three digits, or a dash where not defined."""
    return "-" if pd.isna(value) else f"{value:.3f}"
