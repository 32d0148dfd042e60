"""The report of an explanation: one HTML file. Importing it needs the `report` extra."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from aggregate.common.artefacts import write_text
from aggregate.common.pictures import shown_preview
from aggregate.common.run_folder import REPORT
from aggregate.explain.controls import CONTROLS, RANDOM
from aggregate.explain.deletion import WAYS
from aggregate.explain.methods.base import MethodBase
from aggregate.explain.results import ExplainResults
from aggregate.explain.tables import height_table, mean_maps
from aggregate.explain.terminal import headline, stability_words
from aggregate.explain.verdict import NOT
from aggregate.report.figures.curves import profiles
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.studies.explanation import height_figure, person_figure, share_figure
from aggregate.report.pages.rendering import encoded, rendered, whole
from aggregate.report.text.tables import TextTable
from aggregate.report.text.words import head_of, interval, named, number, p_value, plane_words

SHOWN_PEOPLE = 4
"""Volumes whose own curve and slices are shown."""


def render_explanation(results: ExplainResults, people_pages: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write the report; gives what it shows.

    Args:
        results: Of one explanation.
        people_pages: What it says of participants' pages, where there are any.
    """
    content = {**explanation_content(results, explanation_figures(results)), "people_pages": people_pages}
    write_text(results.folder / REPORT, rendered("explanation.html", content))
    return content


def explanation_figures(results: ExplainResults) -> dict[str, Drawing]:
    """SVG by the name of the table that it is drawn from; deletion and insertion one for each method."""
    found = results.found
    drawn: dict[str, Drawing] = {}
    for method in found.asked.methods:
        drawn[f"height_{method.name}"] = _height(results, method)
        for way in WAYS:
            curves = found.separations(method.name, way)
            drawn[f"{way}_{method.name}"] = share_figure(method.name, way, curves, method.words)
    return drawn


def _height(results: ExplainResults, method: MethodBase) -> Drawing:
    table = height_table(results.found, results.study.cohort, method.name)
    found = profiles(table.assign(attention=table["value"]))
    drawn = profiles(table.assign(attention=table["random_head"], label=CONTROLS[RANDOM]))
    shown = {of: one for of, one in {**found, **drawn}.items() if len(one.mean)}
    return height_figure(method.name, shown, _even(method), _axis(results, method), _pole(results))


def _even(method: MethodBase) -> float:
    return 0.0 if method.signed else 1.0


def _pole(results: ExplainResults) -> str:
    return plane_words(results.study.store.header)["from_pole"]


def _axis(results: ExplainResults, method: MethodBase) -> str:
    if not method.signed:
        return f"{method.words} × number of slices (1 = uniform)"
    return f"{method.words}: logits for {results.found.questions[0].name}"


def explanation_content(results: ExplainResults, figures: Mapping[str, Drawing]) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics, found = results.metrics, results.found
    return {
        "target": metrics["target"],
        "evidence_of": metrics["evidence_of"],
        "verdict": headline(metrics),
        "untrained": results.study.store.header.fingerprint.backbone.architecture.get("kind") == "untrained",
        "facts": _facts(metrics),
        "methods": [
            {
                "title": f"{method.words}: {found.judgements[method.name].words}",
                "reason": found.judgements[method.name].reason,
                "height": figures[f"height_{method.name}"],
                "deletion": figures[f"deletion_{method.name}"],
                "insertion": figures[f"insertion_{method.name}"],
            }
            for method in found.asked.methods
        ],
        "table_": method_rows(metrics),
        "people": people(results),
        "rule": metrics["rule"],
        "controls": [*CONTROLS.items()],
        "notes": metrics["notes"],
        "command": whole(results.command),
        "hashes": [(name, metrics[name.replace(" ", "_")]) for name in ("fingerprint", "content digest")],
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(metrics["versions"].items())),
        "config": whole(yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True)),
    }


def _facts(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    beaten = sum(one["verdict"] != NOT for one in metrics["methods"].values())
    return [
        ("maps that beat their controls", f"{beaten} of {len(metrics['methods'])}"),
        ("participants", str(metrics["n_participants"])),
        ("members", str(metrics["n_members"])),
        ("head", named(head_of(metrics))),
    ]


def method_rows(metrics: dict[str, Any]) -> TextTable:
    """A row per method: its areas, how far the controls lie from it, and what comes of that."""
    head = (
        "method",
        "deletion area (lower is better)",
        *(f"sooner than {told}" for told in CONTROLS.values()),
        "insertion area (higher is better)",
        "p, Holm",
        "Spearman between members",
        "verdict",
    )
    rows = []
    for found in metrics["methods"].values():
        against = [found["against"].get(name) for name in CONTROLS]
        rows.append(
            (
                found["words"],
                number(found["deletion"]["own"]),
                *("–" if one is None else _difference(one) for one in against),
                number(found["insertion"]["own"]),
                p_value(found["p_holm"]).removeprefix("p = ").removeprefix("p "),
                " ".join(stability_words(found)),
                found["verdict"],
            )
        )
    return TextTable(head, tuple(rows))


def _difference(found: dict[str, Any]) -> str:
    told = interval(found, signed=True)
    return number(found["difference"], signed=True) + (f" ({told})" if told else "")


def people(results: ExplainResults) -> list[dict[str, Any]]:
    """Some volumes, spread evenly over the cohort: caption, curve, and slices where previews are."""
    study, found = results.study, results.found
    method, cohort = found.asked.methods[0], study.cohort
    maps = mean_maps(found, method.name)
    bags = np.array(list(maps), dtype=np.int64)
    chosen = bags[np.unique(np.linspace(0, len(bags) - 1, SHOWN_PEOPLE).round().astype(int))]
    keep, height = study.bags.keep.numpy(), study.bags.height_mm.numpy()
    shown = []
    for bag in chosen.tolist():
        key = cohort.entries[int(np.flatnonzero(cohort.bag == bag)[0])].key
        times = 1.0 if method.signed else float(keep[bag].sum())
        values, own = maps[bag][0][keep[bag]] * times, height[bag][keep[bag]]
        png = shown_preview(study.store, key)
        shown.append(
            {
                "caption": f"{key} ({cohort.kind.shown(cohort.values[[bag]])[0]})",
                "curve": person_figure(f"person-{bag}", own, values, _even(method), _pole(results)),
                "preview": None if png is None else encoded(png),
            }
        )
    return shown
