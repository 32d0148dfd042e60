"""Put the report together: numbers to sentences, tables and figures, and those into the template."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aggregate.baselines.names import crop_of
from aggregate.common.artefacts import write_text
from aggregate.common.run_folder import FIGURES
from aggregate.common.versions import extraction_libraries
from aggregate.report.figures.cohort.flow import flow_figure
from aggregate.report.figures.curves import Roc, profiles, roc_of
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.scores.confusion import confusion_figure
from aggregate.report.figures.scores.forest import Bar, forest
from aggregate.report.figures.scores.numbers import number_figures
from aggregate.report.figures.scores.roc import roc, roc_by_class
from aggregate.report.figures.scores.survival import grouped, kaplan_meier_figure
from aggregate.report.figures.studies.heights import attention_profile
from aggregate.report.figures.studies.learning import learning_figure
from aggregate.report.pages.classes import class_content, contrast_table
from aggregate.report.pages.evaluation import (
    drawn_figures,
    external_content,
    external_scored,
    external_verdict,
)
from aggregate.report.pages.rendering import encoded, rendered, whole
from aggregate.report.pages.scored import embedding_map_figure, scored_section
from aggregate.report.text import tables, words
from aggregate.report.text.characteristics import cohort_table
from aggregate.targets.told import primary_of
from aggregate.train.results import EXTERNAL, Results

FLAT = 0.02
"""Attention that stays this close to 1 everywhere is uniform: there is nothing to draw."""


def render_report(results: Results, path: Path) -> dict[str, Any]:
    """Write the report, and beside it figures that stand alone; nobody ever sees half of it.

    Args:
        results: Of one training.
        path: The HTML file, replaced if it is there.

    Returns:
        What the report shows.
    """
    content = training_content(results)
    write_text(path, rendered("training.html", content))
    for drawing in also_drawn(results):
        (path.parent / FIGURES).mkdir(exist_ok=True)
        write_text(path.parent / FIGURES / f"{drawing.name}.svg", drawing)
    return content


def also_drawn(results: Results) -> list[Drawing]:
    """Figures that stand beside the report and not in it."""
    found = [confusion_figure(results.metrics), learning_figure(results.history)]
    if results.external is not None:
        found.append(confusion_figure(results.external.metrics, EXTERNAL))
    return [drawing for drawing in found if drawing is not None]


def page(results: Results) -> str:
    """The whole HTML file as text; the same results give the same text."""
    return rendered("training.html", training_content(results))


def training_content(results: Results) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics = results.metrics
    names, rows = tables.metric_table(metrics)
    return {
        "target": metrics.get("target", ""),
        "classes": () if "outcome" in metrics else results.classes,
        "positive": metrics.get("positive"),
        "facts": training_facts(results),
        "verdict": words.verdict(metrics),
        "untrained": architecture(results).get("kind") == "untrained",
        "warnings": results.warnings,
        "metric_names": names,
        "metric_rows": rows,
        "comparison": tables.comparison_table(metrics),
        "forest": forest_figure(metrics),
        "several": class_content(metrics),
        "contrasts": contrast_table(metrics),
        "groups": tables.group_table(metrics),
        "external": external_section(results),
        "null": (metrics.get("null") or {}).get(primary_of(metrics).name),
        "primary": primary_of(metrics).words,
        "guessing": primary_of(metrics).guessing is not None,
        "roc": roc_figure(results),
        "numbers": number_figures(results),
        "curves": kaplan_meier(results),
        "log_rank": words.p_value((metrics.get("risk_groups") or {}).get("log_rank_p")),
        "risk_groups": tables.risk_group_table(metrics),
        "learning": learning_figure(results.history),
        "attention": attention_figure(results),
        "plane": words.plane_words(results.header),
        "previews": [(caption, encoded(png)) for caption, png in results.previews],
        "cohort": cohort_table(results),
        "flow": flow_figure(metrics),
        "map": embedding_map_figure(results),
        "scored": scored_section(results),
        "sites": tables.site_table(results.site_by_label),
        "site_said": (metrics.get("site") or {}).get("said", ""),
        "adjusted_said": (metrics.get("adjusted") or {}).get("said", ""),
        "slices": tables.slices_table(results),
        "left_out": tables.reasons(results.turnout.rows()),
        "turnout": results.turnout.line(),
        "notes": results.notes,
        "cropped": crop_of(results.notes),
        "ci_words": words.ci_words(str(metrics.get("ci_method", ""))),
        "ci_method": metrics.get("ci_method", ""),
        "config": whole(yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True)),
        "steps": steps(results),
        "hashes": training_hashes(results),
        "command": whole(results.command),
        "versions": versions_line(results),
    }


def external_section(results: Results) -> dict[str, Any] | None:
    """What the bundle is worth on another cohort, if the pipeline names one."""
    if results.external is None:
        return None
    metrics = results.external.metrics
    figures = drawn_figures(results.folder, results.external.curves, EXTERNAL)
    notes = [external_verdict(metrics), results.external.cohort.turnout.line(), *metrics["warnings"]]
    scored = external_scored(results.external, EXTERNAL)
    return {**external_content(metrics, figures, scored), "notes": [*filter(None, notes), *metrics["notes"]]}


def training_facts(results: Results) -> list[tuple[str, str]]:
    """Key figures under the title: what, and how much."""
    metrics = results.metrics
    primary = primary_of(metrics)
    head = metrics["metrics"].get(primary.name) or {}
    found = [(primary.words, words.number(head.get("value"))), ("95 % interval", words.interval(head) or "–")]
    found.append(("participants", str(metrics["n_participants"])))
    if "n_folds" in metrics and "n_repeats" in metrics:
        found.append(("folds × repeats", f"{metrics['n_folds']} × {metrics['n_repeats']}"))
    backbone = architecture(results)
    size = " ".join(str(backbone[key]) for key in ("kind", "size") if backbone.get(key))
    return [*found, ("backbone", size or "unnamed"), ("head", words.named(words.head_of(metrics)))]


def architecture(results: Results) -> dict[str, Any]:
    """What the store says of the backbone's shape and kind."""
    return results.header.fingerprint.backbone.architecture


def steps(results: Results) -> list[tuple[str, str]]:
    """Preprocessing in its order, the slice rule and the numerics, each with its parameters."""
    found = results.header.fingerprint
    named = [(str(step.get("step", "step")), step) for step in found.preprocessing]
    named += [("slices", found.slices), ("numerics", results.header.numerics.model_dump(mode="json"))]
    return [
        (name, "; ".join(f"{key} {value}" for key, value in step.items() if key != "step"))
        for name, step in named
    ]


def training_hashes(results: Results) -> list[tuple[str, str, str]]:
    """Name, hash, and what it stands for."""
    header = results.header
    return [
        (
            "fingerprint",
            header.fingerprint.digest,
            "backbone, plane and preprocessing: which numbers were meant",
        ),
        ("numerics", header.numerics.digest, "compute and storage dtype, resize: with which arithmetic"),
        ("content digest", results.content_digest, "every committed embedding of the store"),
        ("backbone weights", header.fingerprint.backbone.weights_sha256, "the frozen network's parameters"),
    ]


def versions_line(results: Results) -> list[tuple[str, str]]:
    """Library versions of the training and of the extraction, by name."""
    found: dict[str, dict[str, str]] = {
        "training": results.metrics.get("versions") or {},
        "extraction": extraction_libraries(results.header),
    }
    return [
        (stage, ", ".join(f"{name} {version}" for name, version in sorted(libraries.items())))
        for stage, libraries in found.items()
        if libraries
    ]


def forest_figure(metrics: dict[str, Any]) -> str | None:
    """The primary metric of the head and its baselines with intervals."""
    primary = primary_of(metrics)
    head = words.head_of(metrics)
    bars = []
    for name, row in {head: metrics["metrics"], **metrics["baselines"]}.items():
        found = row.get(primary.name) or {}
        if found.get("value") is not None:
            low, high = found.get("ci_low"), found.get("ci_high")
            label = words.named(name).replace(" + ", " +\n")
            bars.append(Bar(label, found["value"], low, high, main=name == head))
    null = (metrics.get("null") or {}).get(primary.name)
    return forest(bars, (null["mean"], null["sd"]) if null else None, primary) if bars else None


def kaplan_meier(results: Results) -> str | None:
    """Curves of the head's risk groups, where the target is a time."""
    frame, head = results.predictions, words.head_of(results.metrics)
    if "risk_groups" not in results.metrics:
        return None
    own = frame[(frame["configuration"] == head) & (frame["set"] != "external")]
    return kaplan_meier_figure(grouped(own), results.metrics["target"])


def roc_figure(results: Results) -> str | None:
    """ROC curves from the predictions, as far as these hold them."""
    frame, classes = results.predictions, results.classes
    needed = {"repeat", "fold", "seed", "participant_id", "y", *(f"logit_{name}" for name in classes)}
    if frame.empty or len(classes) < 2 or not needed <= set(frame.columns):
        return None
    head = words.head_of(results.metrics)
    inside = frame.dropna(subset=["repeat"])  # an external cohort's rows are of no fold
    by_name = {str(name): rows for name, rows in inside.groupby("configuration", sort=False)}
    if head not in by_name:
        return None
    if len(classes) > 2:
        each = {
            label: curve
            for label in classes
            if (curve := roc_of(by_name[head], label, tuple(c for c in classes if c != label))) is not None
        }
        return roc_by_class(each) if each else None
    curves = {name: roc_of(rows, classes[1], classes[:1], name == head) for name, rows in by_name.items()}
    drawn: dict[str, Roc] = {name: curve for name, curve in curves.items() if curve is not None}
    main = drawn.pop(head, None)
    if main is None:
        return None
    return roc(words.named(head), main, {words.named(name): curve for name, curve in drawn.items()})


def attention_figure(results: Results) -> str | None:
    """Attention over height, unless the head weighs all slices alike."""
    values = results.attention["attention"].to_numpy(dtype=float) if len(results.attention) else np.ones(1)
    if np.all(np.abs(values - 1) < FLAT):
        return None
    found = {label: profile for label, profile in profiles(results.attention).items() if len(profile.mean)}
    ordered = {label: found[label] for label in results.classes if label in found}
    from_pole = words.plane_words(results.header)["from_pole"]
    return attention_profile(ordered or found, from_pole) if found else None
