"""The report of a detection: one self-contained HTML file. Importing it needs the `report` extra."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from aggregate.anomaly.findings.results import DetectionResults, ShownVolume
from aggregate.anomaly.findings.verdicts import METRIC_WORDS, between, signed
from aggregate.common.artefacts import write_text
from aggregate.report.figures.images.components import component_figures
from aggregate.report.figures.images.tiles import highest, part_sheet, tile_sheet
from aggregate.report.figures.studies.fits import fit_figures
from aggregate.report.pages.detected_scores import detected_scores
from aggregate.report.pages.rendering import encoded, rendered, whole
from aggregate.report.text.tables import TextTable, reasons
from aggregate.report.text.words import plane_words
from cache_schema.common.text.counts import counted

DETECTOR_HEAD = {
    "prevalence": "prevalence",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "average precision",
    "aupro": "AUPRO",
    "dice_oracle": "best Dice",
    "dice_fpr05": "Dice at 5 %",
    "lesion_sensitivity": "lesions found at 5 %",
    "slice_auroc": "slice AUROC",
    "slice_ap": "slice average precision",
    "slice_f1_max": "slice best F1",
    "volume_auroc": "volume AUROC",
    "volume_ap": "volume average precision",
    "volume_f1_max": "volume best F1",
    "numbers": "numbers kept",
    "ms_per_slice": "ms per slice",
}
"""Columns of `detectors.csv` as people call them."""


def render_detection(
    results: DetectionResults, path: Path, people_pages: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the report; nobody ever sees half of it. What it shows is returned.

    Args:
        results: Of one detection.
        path: The HTML file, replaced if it is there.
        people_pages: What it says of participants' pages, where there are any.
    """
    content = {**detection_content(results), "people_pages": people_pages}
    write_text(path, rendered("detection.html", content))
    return content


def detection_page(results: DetectionResults) -> str:
    """The whole HTML file as text; the same results give the same text."""
    return rendered("detection.html", detection_content(results))


def detection_content(results: DetectionResults) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics = results.metrics
    backbones = [header.fingerprint.backbone.architecture for header in results.headers.values()]
    return {
        "verdict": results.verdict,
        "untrained": any(backbone.get("kind") == "untrained" for backbone in backbones),
        "warnings": results.warnings,
        "facts": detection_facts(results),
        "has_truth": any("foreground" in one for one in metrics["metrics"].values()),
        "head": ["detector", "seed", *DETECTOR_HEAD.values()],
        "foreground": table_rows(results, "foreground"),
        "everywhere": table_rows(results, "all"),
        "comparison": comparison(metrics),
        "detector": results.detector,
        "plane": plane_words(next(iter(results.headers.values()))),
        "findings": [finding(one, results) for one in results.shown],
        "scores": detected_scores(results),
        "no_previews": no_previews(results.shown),
        "curves": fit_figures(results.curves),
        "components": component_figures(results),
        "groups": group_rows(results),
        "left_out": reasons(results.turnout.rows()),
        "turnout": results.turnout.line(),
        "notes": results.notes,
        "ci_method": metrics["ci_method"],
        "thresholds": threshold_table(metrics),
        "command": whole(results.command),
        "hashes": detection_hashes(results),
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(metrics["versions"].items())),
        "config": whole(yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True)),
    }


def no_previews(shown: list[ShownVolume]) -> str:
    """Why maps stand alone, and how to have the slices beside them; empty where a preview is shown."""
    if not shown or any(one.preview is not None for one in shown):
        return ""
    return (
        "The store holds no previews, so that maps are shown without the slices below them: extract writes "
        "them, and slicecache cache export takes them along with --previews."
    )


def detection_facts(results: DetectionResults) -> list[tuple[str, str]]:
    """Key figures under the title."""
    counts = results.metrics["reference"]["volumes"]
    backbone = next(iter(results.headers.values())).fingerprint.backbone.architecture
    size = " ".join(str(backbone[key]) for key in ("kind", "size") if backbone.get(key))
    return [
        ("fitted on", counted(counts.get("fit", 0), "volume")),
        ("held-out normals", str(counts.get("test", 0))),
        ("other volumes", str(counts.get("other", 0))),
        ("detectors", str(len(results.metrics["metrics"]))),
        ("backbone", size or "unnamed"),
    ]


def table_rows(results: DetectionResults, region: str) -> list[tuple[list[str], str]]:
    """Rows of one region with their class: baselines are marked."""
    rows = results.detectors[results.detectors["region"] == region]
    baselines = set(results.metrics["baselines"])
    found = []
    for row in rows.to_dict("records"):
        cells = [str(row["detector"]), str(row["seed"])]
        cells += [score_cell(column, row[column]) for column in DETECTOR_HEAD]
        found.append((cells, "baseline" if row["detector"] in baselines else ""))
    return found


def score_cell(column: str, value: Any) -> str:
    """A number as its column wants it."""
    if pd.isna(value):
        return "–"
    own = {"prevalence": f"{value:.2%}", "ms_per_slice": f"{value:.2f}", "numbers": f"{value:,.0f}"}
    return own.get(column, f"{value:.3f}")


def comparison(metrics: dict[str, Any]) -> TextTable | None:
    """Every detector against every baseline."""
    rows = tuple(
        (f"{name} against {base}", METRIC_WORDS[metric], signed(found["difference"]),
         between(found).removeprefix(", ") or "–")
        for name, bases in metrics["comparison"].items()
        for base, compared in bases.items()
        for metric, found in compared.items()
    )  # fmt: skip
    return TextTable(("", "metric", "difference", "95 % interval"), rows) if rows else None


def threshold_table(metrics: dict[str, Any]) -> TextTable:
    """Thresholds of every detector and seed."""
    rows = tuple(
        (name, seed, *(f"{value:.4g}" for value in found["tokens"].values()), str(found["n_slices"]))
        for name, seeds in metrics["thresholds"].items()
        for seed, found in seeds.items()
    )
    return TextTable(("detector", "seed", "10 %", "5 %", "1 %", "calibration slices"), rows)


def group_rows(results: DetectionResults) -> TextTable:
    """Parts of the cohort."""
    words = {
        "fit": "reference group: fitted on",
        "calibration": "reference group: sets thresholds",
        "test": "reference group: held out",
        "other": "not in the reference group",
    }
    several = len(results.headers) > 1
    rows = tuple(
        (f"{store}: {words[part]}" if several else words[part], str(people), str(volumes))
        for store, part, people, volumes in results.groups
    )
    return TextTable(("part", "participants", "volumes"), rows)


def finding(one: ShownVolume, results: DetectionResults) -> dict[str, Any]:
    """Preview and map of one volume, and which slices are highest."""
    top = max(
        float(other.tokens[other.foreground > 0].max(initial=other.threshold)) for other in results.shown
    )
    preview, overlay = tile_sheet(one, top)
    return {
        "caption": one.caption,
        "slices": "highest slices: " + ", ".join(f"{height:.0f} mm" for height in highest(one)),
        "preview": None if preview is None else encoded(preview),
        "overlay": encoded(overlay),
        "parts": [(name, encoded(part_sheet(one, parts))) for name, parts in one.parts.items()],
    }


def detection_hashes(results: DetectionResults) -> list[tuple[str, str]]:
    """What identifies the embeddings."""
    found = []
    for name, header in results.headers.items():
        found += [
            (f"{name}: fingerprint", header.fingerprint.digest),
            (f"{name}: numerics", header.numerics.digest),
            (f"{name}: content digest", results.content_digests[name]),
        ]
    return found
