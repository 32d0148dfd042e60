"""The page: results in, one self-contained HTML file out."""

import base64
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from aggregate.artefacts import write_text
from aggregate.report import words
from aggregate.report.figures import attention_by_height, forest, roc
from aggregate.results import Results


def render_report(results: Results, path: Path) -> None:
    """Write `report.html`: no script, no request, the same results give the same bytes."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(files("aggregate.report").joinpath("template.html").read_text("utf-8"))
    write_text(path, template.render(context(results)))


def context(results: Results) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics, header = results.metrics, results.header
    return {
        "metrics": metrics,
        "title": f"{metrics['target']}: {' / '.join(results.classes)}",
        "untrained": words.is_untrained(header),
        "backbone": words.backbone_name(header),
        "warnings": results.warnings,
        "notes": results.notes,
        "verdict": words.verdict(metrics),
        "table": metric_table(metrics),
        "headings": [words.NAMES[name] for name in words.NAMES if name in metrics["metrics"]],
        "pooled": words.number(metrics["metrics"].get("auroc_pooled")),
        "forest": Markup(forest(forest_rows(metrics))),
        "roc": roc_figure(results),
        "attention": attention_figure(results),
        "previews": [(caption, base64.b64encode(png).decode()) for caption, png in results.previews],
        "coverage": coverage(results.cohort, results.classes),
        "left_out": left_out(results.left_out),
        "sites": site_table(results.site_by_label),
        "preprocessing": [dict(step) for step in header.fingerprint.preprocessing],
        "slices": header.fingerprint.slices,
        "numerics": header.numerics.model_dump(mode="json"),
        "config": yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True),
        "command": results.command,
        "content_digest": results.content_digest,
        "weights": header.fingerprint.backbone.weights_sha256,
    }


def metric_table(metrics: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Rows of the table: the head first, then its baselines."""
    rows = [(metrics["configuration"], metrics["metrics"])]
    rows += [(words.baseline_name(name), row) for name, row in metrics["baselines"].items()]
    names = [name for name in words.NAMES if name in metrics["metrics"]]
    return [(name, [words.parts(row.get(metric)) for metric in names]) for name, row in rows]


def forest_rows(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Configuration and its AUROC."""
    rows = [(metrics["configuration"], metrics["metrics"]["auroc"])]
    return rows + [(words.baseline_name(name), row["auroc"]) for name, row in metrics["baselines"].items()]


def roc_figure(results: Results) -> Markup | None:
    """ROC curves of two classes; several classes have no single curve."""
    if len(results.classes) != 2:
        return None
    names = [results.metrics["configuration"], *results.metrics["baselines"]]
    return Markup(roc(results.predictions, names, results.classes[-1]))


def attention_figure(results: Results) -> Markup | None:
    """Attention over height, if a bag was tested."""
    if results.attention.empty:
        return None
    return Markup(attention_by_height(results.attention, results.classes))


def coverage(cohort: pd.DataFrame, classes: tuple[str, ...]) -> list[tuple[str, int, int, str, str]]:
    """By label: participants, bags, slices and coverage in mm as median [5th, 95th percentile]."""
    rows = []
    for index, label in enumerate(classes):
        own = cohort[cohort["y"] == index]
        rows.append(
            (
                label,
                int(own["participant_id"].nunique()),
                len(own),
                spread(own["slices"]),
                spread(own["coverage_mm"]),
            )
        )
    return rows


def spread(values: "pd.Series[float]") -> str:
    """Median and the middle nine tenths."""
    low, middle, high = values.quantile([0.05, 0.5, 0.95])
    return f"{middle:.0f} [{low:.0f}, {high:.0f}]"


def left_out(rows: list[dict[str, str]]) -> list[tuple[str, int, list[str]]]:
    """Reason, how many, and who."""
    counts = Counter(row["reason"] for row in rows)
    return [
        (reason, n, [label(row) for row in rows if row["reason"] == reason]) for reason, n in counts.items()
    ]


def label(row: dict[str, str]) -> str:
    """Participant, session and volume of a row."""
    return "/".join(row[part] for part in ("participant_id", "session_id", "volume_id") if row[part])


def site_table(table: pd.DataFrame | None) -> tuple[list[str], list[tuple[str, list[int]]]] | None:
    """Columns and rows of the site-by-label table."""
    if table is None:
        return None
    rows = [
        (str(site), [int(n) for n in row]) for site, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return [str(name) for name in table.columns], rows
